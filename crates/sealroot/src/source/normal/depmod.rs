// SPDX-License-Identifier: MIT OR Apache-2.0
//! What `depmod` writes about modules, where it names them: text, and the same in an index for programs
//! (kmod's `libkmod-index.c`).

use sealroot_format::codec::Cursor;

use super::without_ending;

/// The beginning of an index: what it is, and in which version.
const MAGIC: u32 = 0xb007_f457;
const VERSION: u32 = 0x0002_0001;

/// A place has in its highest bits what is there of a node.
const HAS_PREFIX: u32 = 1 << 31;
const HAS_VALUES: u32 = 1 << 30;
const HAS_CHILDREN: u32 = 1 << 29;
const PLACE: u32 = (1 << 28) - 1;

/// Each node is one letter of a name at least, and each has one node above it.
const MAX_DEPTH: usize = 256;

/// A text with names of modules, without their endings.
pub(super) fn list(text: &[u8]) -> Vec<u8> {
    let is_end = |byte: &u8| matches!(byte, b':' | b' ' | b'\n');
    let mut out = Vec::with_capacity(text.len());
    for piece in text.split_inclusive(is_end) {
        let (name, end) = match piece.split_last() {
            Some((end, name)) if is_end(end) => (name, &piece[name.len()..]),
            _ => (piece, &[][..]),
        };
        let without = without_ending(name).filter(|name| name.ends_with(b".ko"));
        out.extend_from_slice(without.unwrap_or(name));
        out.extend_from_slice(end);
    }
    out
}

/// The same of an index; `None` if it is none.
pub(super) fn index(old: &[u8]) -> Option<Vec<u8>> {
    let mut head = Cursor::new(old);
    let mut word = || Some(u32::from_be_bytes(head.array()?));
    if (word()?, word()?) != (MAGIC, VERSION) {
        return None;
    }
    let root = word()?;
    let mut out = [MAGIC, VERSION, 0].map(u32::to_be_bytes).concat();
    let root_at = out.len() - size_of::<u32>();
    let mut copy = Copy {
        old,
        out: &mut out,
        left: old.len(),
    };
    let root = copy.node(root, MAX_DEPTH)?;
    out[root_at..][..size_of::<u32>()].copy_from_slice(&root.to_be_bytes());
    Some(out)
}

struct Copy<'c> {
    old: &'c [u8],
    out: &'c mut Vec<u8>,
    /// How many nodes there may still be: none has less than a byte, and none is there twice.
    left: usize,
}

impl Copy<'_> {
    /// Writes a node behind all that are below it, as `depmod` does; its new place.
    fn node(&mut self, old: u32, depth: usize) -> Option<u32> {
        if old & PLACE == 0 {
            return Some(0);
        }
        self.left = self.left.checked_sub(1)?;
        let mut cursor = Cursor::new(self.old.get((old & PLACE) as usize..)?);
        let mut node = Vec::new();
        if old & HAS_PREFIX != 0 {
            node.extend_from_slice(text(&mut cursor)?);
            node.push(0);
        }
        if old & HAS_CHILDREN != 0 {
            let [first, last] = cursor.array()?;
            node.extend([first, last]);
            for _ in first..=last {
                let child = u32::from_be_bytes(cursor.array()?);
                let child = self.node(child, depth.checked_sub(1)?)?;
                node.extend(child.to_be_bytes());
            }
        }
        if old & HAS_VALUES != 0 {
            let count = cursor.array()?;
            node.extend(count);
            for _ in 0..u32::from_be_bytes(count) {
                node.extend(cursor.array::<4>()?);
                node.extend(list(text(&mut cursor)?));
                node.push(0);
            }
        }
        let place = u32::try_from(self.out.len()).ok()?;
        self.out.extend(node);
        (place <= PLACE).then_some(place | old & !PLACE)
    }
}

/// Text that ends with a zero, without that.
fn text<'c>(cursor: &mut Cursor<'c>) -> Option<&'c [u8]> {
    let len = cursor.rest().iter().position(|byte| *byte == 0)?;
    let text = cursor.take(len)?;
    cursor.take(1)?;
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_name_modules_without_endings() {
        let old = b"kernel/a.ko.xz: kernel/b-c.ko.xz kernel/d.ko\nkernel/b-c.ko.xz:\nkernel/e.xz";
        let new = b"kernel/a.ko: kernel/b-c.ko kernel/d.ko\nkernel/b-c.ko:\nkernel/e.xz";
        assert_eq!(list(old), new);
        assert_eq!(list(new), new);
    }

    /// Where the first node is.
    const FIRST: u32 = 0xc;

    /// An index of one name that has one value, with this place of the root.
    fn one(root: u32) -> Vec<u8> {
        let head = [MAGIC, VERSION, root].map(u32::to_be_bytes).concat();
        let value = [1_u32, 0].map(u32::to_be_bytes).concat();
        [&head[..], b"dummy\0", &value, b"kernel/dummy.ko.zst:\0"].concat()
    }

    #[test]
    fn an_index_is_one_or_refused() {
        let root = FIRST | HAS_PREFIX | HAS_VALUES;
        let new = index(&one(root)).expect("an index");
        assert!(new.ends_with(b"kernel/dummy.ko:\0"));
        assert_eq!(new.len() + 4, one(root).len());
        for cut in 0..one(root).len() {
            assert_eq!(index(&one(root)[..cut]), None, "{cut}");
        }
        // Below itself, again and again.
        let mut endless = one(FIRST | HAS_CHILDREN);
        endless.truncate(12);
        endless.extend([b'a', b'b']);
        let itself = (FIRST | HAS_CHILDREN).to_be_bytes();
        endless.extend([itself, itself].concat());
        assert_eq!(index(&endless), None);
    }
}
