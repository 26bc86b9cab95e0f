// SPDX-License-Identifier: MIT OR Apache-2.0

use proptest::prelude::*;

use super::normal::check_dictionary;
use super::types::Type;
use super::*;
use encode::Value;

#[path = "../../../tests/ostree/encode.rs"]
#[expect(
    dead_code,
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    reason = "shared with the tests of whole repositories"
)]
mod encode;

/// A dictionary with one entry.
fn dictionary(key: &str, value: Value, ty: &str) -> Vec<u8> {
    let variant = Value::Variant(Box::new(value), ty.into());
    let entry = Value::Tuple(vec![encode::text(key), variant]);
    encode::array(8, vec![entry]).encode()
}

/// Any type, and a strategy for its values.
fn any_value() -> impl Strategy<Value = (String, Value)> {
    let number = |ty: &'static str, width| {
        proptest::collection::vec(any::<u8>(), width)
            .prop_map(move |bytes| (ty.to_owned(), Value::Number(bytes)))
    };
    let leaf = prop_oneof![
        number("y", 1),
        number("q", 2),
        number("u", 4),
        number("t", 8),
        any::<bool>().prop_map(|b| ("b".into(), Value::Number(vec![b.into()]))),
        "[^\0]{0,300}".prop_map(|s| ("s".into(), encode::text(s))),
        Just(("o".into(), encode::text("/a/b_1"))),
        Just(("g".into(), encode::text("a{sv}(ii)"))),
        Just(("()".into(), Value::Tuple(Vec::new()))),
    ];
    leaf.prop_recursive(4, 40, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 1..4).prop_map(|members| {
                let types: String = members.iter().map(|(ty, _)| ty.as_str()).collect();
                let members = members.into_iter().map(|(_, member)| member).collect();
                (format!("({types})"), Value::Tuple(members))
            }),
            (inner.clone(), 0..5usize).prop_map(|((ty, element), count)| {
                let array = Value::Array {
                    alignment: element.alignment(),
                    fixed: element.is_fixed(),
                    elements: vec![element; count],
                };
                (format!("a{ty}"), array)
            }),
            inner.prop_map(|(ty, value)| ("v".into(), Value::Variant(Box::new(value), ty))),
        ]
    })
}

proptest! {
    #[test]
    fn what_a_writer_writes_is_normal((ty, value) in any_value()) {
        let encoded = dictionary("k", value.clone(), &ty);
        prop_assert_eq!(check_dictionary(&encoded), Ok(()));
        let parsed = Type::parse(ty.as_bytes()).unwrap();
        prop_assert_eq!(parsed.alignment, value.alignment());
        prop_assert_eq!(parsed.fixed_size, value.is_fixed().then(|| value.encode().len()));
    }

    #[test]
    fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = check_dictionary(&bytes);
        if let Ok(dictionary) = Dictionary::parse(bytes.clone()) {
            let _ = (dictionary.string("k"), dictionary.byte_strings("k"), dictionary.strings("k"));
        }
        let _ = Type::parse(&bytes);
    }

    #[test]
    fn damaged_values_are_survived(
        (ty, value) in any_value(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        keep in any::<prop::sample::Index>(),
    ) {
        let mut encoded = dictionary("k", value, &ty);
        let at = at.index(encoded.len());
        *encoded.get_mut(at).unwrap() = byte;
        let _ = check_dictionary(&encoded);
        encoded.truncate(keep.index(encoded.len()));
        let _ = check_dictionary(&encoded);
    }
}

#[test]
fn each_departure_from_normal_form_is_named() {
    let number = |bytes: &[u8]| Value::Number(bytes.into());
    let check = |value: Value, ty: &str| check_dictionary(&dictionary("k", value, ty));
    // A boolean of 2, a string with a NUL in it, one that is not UTF-8, a bad path, a bad type.
    assert_eq!(check(number(&[2]), "b"), Err(NotNormal::Boolean));
    assert_eq!(check(encode::text("a\0b"), "s"), Err(NotNormal::String));
    assert_eq!(
        check(encode::text(b"\xff"), "s"),
        Err(NotNormal::Characters)
    );
    assert_eq!(check(encode::text("a/b"), "o"), Err(NotNormal::Characters));
    assert_eq!(
        check(encode::text("/a//b"), "o"),
        Err(NotNormal::Characters)
    );
    assert_eq!(check(encode::text("a"), "g"), Err(NotNormal::Characters));
    assert_eq!(check(encode::text("a"), "z"), Err(NotNormal::Type));
    assert_eq!(check(encode::text("a"), ""), Err(NotNormal::Type));
    assert_eq!(check(encode::text("a"), "ss"), Err(NotNormal::Type));
    assert_eq!(check(number(&[1, 2]), "y"), Err(NotNormal::Excess));
    assert_eq!(check(number(&[1, 2]), "u"), Err(NotNormal::Truncated));
    assert_eq!(
        check(encode::bytes([1, 2, 3]), "aq"),
        Err(NotNormal::Truncated)
    );
    assert_eq!(
        check(encode::bytes([1, 1, 0, 0, 2, 0, 0, 0]), "(yu)"),
        Err(NotNormal::Padding)
    );
    assert_eq!(
        check(encode::bytes([7, 0, 9]), "(qy)"),
        Err(NotNormal::Truncated)
    );
    assert_eq!(
        check(encode::bytes([7, 0, 9, 1]), "(qy)"),
        Err(NotNormal::Padding)
    );
    assert_eq!(check(encode::bytes([1]), "()"), Err(NotNormal::Padding));
    // A string, then one byte: the string's end is framed, and a byte too many.
    assert_eq!(check(encode::bytes(b"a\0\x07\x02"), "(sy)"), Ok(()));
    assert_eq!(
        check(encode::bytes(b"a\0\x07\x07\x02"), "(sy)"),
        Err(NotNormal::Excess)
    );
    assert_eq!(
        check(encode::bytes(b"a\0\x07\x09"), "(sy)"),
        Err(NotNormal::Offset)
    );
    // Arrays: an offset table that does not divide, ends out of order, an end beyond the body.
    assert_eq!(check(encode::bytes(b"a\0b\0\x02\x04"), "as"), Ok(()));
    assert_eq!(
        check(encode::bytes(b"a\0b\0\x04\x02"), "as"),
        Err(NotNormal::Offset)
    );
    assert_eq!(
        check(encode::bytes(b"a\0b\0\x02\x09"), "as"),
        Err(NotNormal::Offset)
    );
    assert_eq!(
        check(encode::bytes(b"a\0b\0\x01\x03\x02\x04"), "as"),
        Err(NotNormal::String)
    );
    // Maybe: nothing, a number, a string with its zero byte.
    assert_eq!(check(encode::bytes([]), "ms"), Ok(()));
    assert_eq!(check(encode::bytes(b"a\0\0"), "ms"), Ok(()));
    assert_eq!(
        check(encode::bytes(b"a\0\x01"), "ms"),
        Err(NotNormal::Padding)
    );
    assert_eq!(check(encode::bytes([1]), "mb"), Ok(()));
    assert_eq!(check(encode::bytes([1, 1]), "mb"), Err(NotNormal::Excess));
}

#[test]
fn framing_offsets_are_as_narrow_as_can_be() {
    // A body of 252 bytes and two offsets fit one byte each; 254 bytes do not.
    for (body_len, count, width) in [
        (0, 1, 1),
        (253, 2, 1),
        (254, 2, 2),
        (0xffff - 2, 1, 2),
        (0xffff - 1, 1, 4),
        (0xffff_ffff - 4, 1, 4),
        (0xffff_ffff - 3, 1, 8),
    ] {
        assert_eq!(
            least_offset_width(body_len, count),
            width,
            "{body_len} {count}"
        );
    }
    // Padded with an element so long that two bytes are needed, but not more than that.
    let strings = |len: usize| {
        let mut body = vec![b'x'; len];
        body.push(0);
        body
    };
    let mut wide = strings(10);
    wide.resize(11 + 300, 0);
    encode::append_as_wide_as(&mut wide, &[11], 2);
    assert_eq!(
        check_dictionary(&dictionary("k", encode::bytes(&wide), "as")),
        Err(NotNormal::OffsetWidth)
    );
}

#[test]
fn nesting_ends_somewhere() {
    let mut value = Value::Number(vec![1]);
    let mut ty = "y".to_owned();
    for _ in 0..60 {
        value = Value::Variant(Box::new(value), ty);
        ty = "v".into();
    }
    assert_eq!(
        check_dictionary(&dictionary("k", value.clone(), &ty)),
        Ok(())
    );
    for _ in 0..100 {
        value = Value::Variant(Box::new(value), ty);
        ty = "v".into();
    }
    let deep = check_dictionary(&dictionary("k", value, &ty));
    assert_eq!(deep, Err(NotNormal::Depth));
    assert_eq!(Type::parse(&[b'a'; 5000]), None);
    assert_eq!(Type::parse(&[b'('; 5000]), None);
}

#[test]
fn a_key_is_looked_up_by_type_too() {
    let parse = |key, value, ty| Dictionary::parse(dictionary(key, value, ty)).unwrap();
    let found = parse("version", encode::text("12.5"), "s");
    assert_eq!(found.string("version"), Some("12.5"));
    assert_eq!(found.string("versio"), None);
    let other = parse("version", encode::bytes("12.5\0"), "ay");
    assert_eq!(other.string("version"), None);
    let list = || encode::array(1, vec![encode::text("a"), encode::text("")]);
    let strings = parse("list", list(), "as");
    assert_eq!(strings.strings("list"), Some(vec!["a", ""]));
    assert_eq!(strings.byte_strings("list"), None);
    let bytes = parse("list", list(), "aay");
    assert_eq!(bytes.byte_strings("list"), Some(vec![&b"a\0"[..], b"\0"]));
    for (byte, value) in [(0, false), (1, true)] {
        let found = parse("k", Value::Number(vec![byte]), "b");
        assert_eq!(found.boolean("k"), Some(value));
    }
}
