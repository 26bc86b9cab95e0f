// SPDX-License-Identifier: MIT OR Apache-2.0
//! A writer of GVariant in normal form, independent of the reader that is tested.

/// A value with what its encoding depends on.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    /// A number or boolean, little-endian, as wide as it is aligned.
    Number(Vec<u8>),
    /// Text, without its NUL.
    Text(Vec<u8>),
    /// `ay`.
    Bytes(Vec<u8>),
    /// An array, with the alignment of its elements and whether they have a fixed size.
    Array {
        alignment: usize,
        fixed: bool,
        elements: Vec<Value>,
    },
    /// A tuple or dictionary entry.
    Tuple(Vec<Value>),
    /// A value and its type.
    Variant(Box<Value>, String),
}

/// A `u32` as OSTree stores it.
pub(crate) fn u32_be(number: u32) -> Value {
    Value::Number(number.to_be_bytes().into())
}

/// A `u64` as OSTree stores it.
pub(crate) fn u64_be(number: u64) -> Value {
    Value::Number(number.to_be_bytes().into())
}

pub(crate) fn text(text: impl AsRef<[u8]>) -> Value {
    Value::Text(text.as_ref().into())
}

pub(crate) fn bytes(bytes: impl AsRef<[u8]>) -> Value {
    Value::Bytes(bytes.as_ref().into())
}

/// An array of elements of variable size.
pub(crate) fn array(alignment: usize, elements: Vec<Value>) -> Value {
    Value::Array {
        alignment,
        fixed: false,
        elements,
    }
}

impl Value {
    pub(crate) fn alignment(&self) -> usize {
        match self {
            Self::Number(bytes) => bytes.len(),
            Self::Text(_) | Self::Bytes(_) => 1,
            Self::Array { alignment, .. } => *alignment,
            Self::Tuple(members) => members.iter().map(Self::alignment).max().unwrap_or(1),
            Self::Variant(..) => 8,
        }
    }

    pub(crate) fn is_fixed(&self) -> bool {
        match self {
            Self::Number(_) => true,
            Self::Tuple(members) => members.iter().all(Self::is_fixed),
            _ => false,
        }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        match self {
            Self::Number(bytes) | Self::Bytes(bytes) => bytes.clone(),
            Self::Text(text) => [text, &b"\0"[..]].concat(),
            Self::Variant(value, ty) => [&value.encode(), &b"\0"[..], ty.as_bytes()].concat(),
            Self::Array {
                fixed, elements, ..
            } => {
                let (mut out, ends) = concatenate(elements);
                if !fixed {
                    append(&mut out, &ends);
                }
                out
            }
            Self::Tuple(members) => {
                let (mut out, ends) = concatenate(members);
                if self.is_fixed() {
                    out.resize(out.len().max(1).next_multiple_of(self.alignment()), 0);
                    return out;
                }
                let framed = members.iter().zip(ends).rev().skip(1);
                let ends: Vec<usize> = framed
                    .filter_map(|(member, end)| (!member.is_fixed()).then_some(end))
                    .collect();
                append(&mut out, &ends);
                out
            }
        }
    }
}

fn concatenate(values: &[Value]) -> (Vec<u8>, Vec<usize>) {
    let mut out: Vec<u8> = Vec::new();
    let mut ends = Vec::new();
    for value in values {
        out.resize(out.len().next_multiple_of(value.alignment()), 0);
        out.extend(value.encode());
        ends.push(out.len());
    }
    (out, ends)
}

fn append(out: &mut Vec<u8>, ends: &[usize]) {
    let fits = |width: &u32| {
        let total = out.len() as u128 + ends.len() as u128 * u128::from(*width);
        total < 1 << (8 * width)
    };
    let width = [1u32, 2, 4, 8].into_iter().find(fits).unwrap();
    append_as_wide_as(out, ends, width as usize);
}

/// Framing offsets of a width that may be more than needed.
pub(crate) fn append_as_wide_as(out: &mut Vec<u8>, ends: &[usize], width: usize) {
    for end in ends {
        out.extend(&end.to_le_bytes()[..width]);
    }
}
