// SPDX-License-Identifier: MIT OR Apache-2.0
//! Floors: one text form, variables that only the owner could write, updates in the order of their
//! floors.

use proptest::prelude::*;
use sealroot_format::{
    ErrorClass,
    floor::{
        Error, Floor, epoch_of_counter, time,
        update::{Update, message},
        variable,
    },
    limits::{MAX_FLOOR_EPOCH, MAX_FLOOR_INDEX},
    sign::ReleaseNumbers,
};

use crate::common::{assert_each_line_matters, edited};

const FLOOR: Floor = Floor {
    epoch: 3,
    index: 42,
};

/// A `SignedData` as far as the frame goes.
const SIGNED_DATA: &[u8] = b"\x30\x03\x02\x01\x01";

/// The same in a `ContentInfo`.
const CONTENT_INFO: &[u8] =
    b"\x30\x12\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02\xa0\x05\x30\x03\x02\x01\x01";

fn of_variable(attributes: u32, text: &str) -> Vec<u8> {
    [&attributes.to_le_bytes(), text.as_bytes()].concat()
}

// Rules: U1
#[test]
fn a_floor_has_one_text_and_two_limits() {
    let text = FLOOR.to_string();
    assert_eq!(Floor::parse(text.as_bytes()), Ok(FLOOR));
    assert_each_line_matters(&text, |text| Floor::parse(text).is_ok());
    let highest = Floor::new(MAX_FLOOR_EPOCH, MAX_FLOOR_INDEX).unwrap();
    assert_eq!(Floor::parse(highest.to_string().as_bytes()), Ok(highest));
    assert_eq!(Floor::new(MAX_FLOOR_EPOCH + 1, 0), None);
    assert_eq!(Floor::new(0, MAX_FLOOR_INDEX + 1), None);
    for bad in [
        "sealroot floor 2\nepoch 3\nindex 42\n",
        "sealroot floor 1\nepoch 1024\nindex 42\n",
        "sealroot floor 1\nepoch 3\nindex 134217728\n",
        "sealroot floor 1\nepoch 03\nindex 42\n",
        "sealroot floor 1\nepoch -\nindex 42\n",
        "",
    ] {
        Floor::parse(bad.as_bytes()).unwrap_err();
    }
}

#[test]
fn a_floor_allows_what_is_below_it_in_no_number() {
    let release = |epoch, index| ReleaseNumbers { index, epoch };
    assert!(FLOOR.allows(release(3, 42)));
    assert!(!FLOOR.allows(release(2, 43)));
    assert!(!FLOOR.allows(release(4, 41)));
    let other = Floor {
        epoch: 1,
        index: 50,
    };
    assert_eq!(
        FLOOR.and(other),
        Floor {
            epoch: 3,
            index: 50
        }
    );
}

// Rules: U2
#[test]
fn a_variable_that_others_could_write_is_no_floor() {
    let text = FLOOR.to_string();
    let file = of_variable(0x27, &text);
    assert_eq!(variable::parse(&file), Ok(FLOOR));
    assert_eq!(variable::ATTRIBUTES, 0x27);
    for bit in 0..32 {
        let error = variable::parse(&of_variable(0x27 ^ (1 << bit), &text)).unwrap_err();
        assert!(matches!(error, Error::Attributes { .. }), "{error}");
        assert_eq!(error.class(), ErrorClass::Untrusted);
    }
    for len_bytes in 0..file.len() {
        variable::parse(&file[..len_bytes]).unwrap_err();
    }
}

// Rules: U3, U4
#[test]
fn the_message_is_what_the_firmware_puts_together() {
    let message = message(Floor {
        epoch: 0,
        index: 61,
    });
    let name: Vec<u8> = "SealrootFloor".bytes().flat_map(|b| [b, 0]).collect();
    let rest = message.strip_prefix(&name[..]).expect("the name");
    let guid = b"\x37\xdf\xad\x99\xf9\xe3\x4e\x42\x8c\x8c\x34\xa4\x22\xba\xe4\xab";
    let rest = rest.strip_prefix(guid).expect("the vendor");
    let rest = rest.strip_prefix(b"\x27\0\0\0").expect("the attributes");
    // The 61st second after the first of January 1970.
    let time = b"\xb2\x07\x01\x01\x00\x01\x01\0\0\0\0\0\0\0\0\0";
    let rest = rest.strip_prefix(time).expect("the time");
    assert_eq!(rest, b"sealroot floor 1\nepoch 0\nindex 61\n");
}

// Rules: U4
#[test]
fn an_update_has_a_bare_signature() {
    let update = Update::new(FLOOR, SIGNED_DATA).unwrap();
    assert_eq!(Update::new(FLOOR, CONTENT_INFO), Ok(update.clone()));
    assert_eq!(update.floor, FLOOR);
    let bytes = update.as_bytes();
    assert_eq!(bytes[..16], time::of(FLOOR));
    assert_eq!(bytes[16..24], *b"\x1d\0\0\0\0\x02\xf1\x0e");
    assert_eq!(bytes[40..45], *SIGNED_DATA);
    assert!(bytes.ends_with(FLOOR.to_string().as_bytes()));
    for bad in [
        &b""[..],
        b"\x30",
        b"\x31\x00",
        b"\x30\x05\x00",
        &CONTENT_INFO[..19],
    ] {
        Update::new(FLOOR, bad).unwrap_err();
    }
}

// Rules: U3, U5
#[test]
fn an_update_is_all_that_or_nothing() {
    let update = Update::new(FLOOR, SIGNED_DATA).unwrap();
    let bytes = update.as_bytes();
    for len_bytes in 0..bytes.len() {
        Update::parse(&bytes[..len_bytes]).unwrap_err();
    }
    for at in (0..40).chain(45..bytes.len()) {
        let mut changed = bytes.to_vec();
        changed[at] ^= 1;
        Update::parse(&changed).unwrap_err();
    }
    let long = [bytes, &vec![0; 65_536]].concat();
    let error = Update::parse(&long).unwrap_err().to_string();
    assert!(error.contains("at most 65536"), "{error}");
}

// Rules: U7
#[test]
fn a_counter_stands_for_an_epoch_above_its_base() {
    assert_eq!(epoch_of_counter(4099, 4096), Some(3));
    assert_eq!(epoch_of_counter(4096, 4096), Some(0));
    assert_eq!(epoch_of_counter(4095, 4096), None);
}

/// The fields of a time, most significant first.
fn fields(floor: Floor) -> (u16, [u8; 5]) {
    let time = time::of(floor);
    assert_eq!(time[7..], [0; 9]);
    let rest = [time[2], time[3], time[4], time[5], time[6]];
    (u16::from_le_bytes([time[0], time[1]]), rest)
}

proptest! {
    // Rules: U3
    #[test]
    fn times_are_in_the_order_of_floors(
        one in (0..=MAX_FLOOR_EPOCH, 0..=MAX_FLOOR_INDEX),
        other in (0..=MAX_FLOOR_EPOCH, 0..=MAX_FLOOR_INDEX),
    ) {
        let [a, b] = [one, other].map(|(epoch, index)| fields(Floor { epoch, index }));
        prop_assert_eq!(a.cmp(&b), one.cmp(&other));
        let (year, [month, day, hour, minute, second]) = a;
        prop_assert!((1970..=9999).contains(&year));
        prop_assert!((1..=12).contains(&month) && (1..=28).contains(&day));
        prop_assert!(hour < 24 && minute < 60 && second < 60);
    }

    #[test]
    fn what_is_read_is_written_to_the_byte(bytes in edited(FLOOR.to_string())) {
        if let Ok(floor) = Floor::parse(&bytes) {
            prop_assert_eq!(floor.to_string().into_bytes(), bytes);
        }
    }

    #[test]
    fn no_bytes_make_the_parsers_panic(bytes: Vec<u8>) {
        drop(Floor::parse(&bytes));
        drop(variable::parse(&bytes));
        drop(Update::parse(&bytes));
        drop(Update::new(FLOOR, &bytes));
    }
}
