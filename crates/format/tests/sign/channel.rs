// SPDX-License-Identifier: MIT OR Apache-2.0
//! Channels: their text and its rules.

use proptest::prelude::*;
use sealroot_format::{
    ErrorClass, limits,
    sign::{Channel, Error, Keyset, SECONDS_OF_DAY, Unverified},
};

use crate::common::{
    assert_each_line_matters, edited, golden_channel, golden_keyset, golden_statement, signed,
    trusted,
};

fn parse(text: &str) -> Result<Channel, Error> {
    Channel::parse(text.as_bytes())
}

fn refused(from: &str, to: &str) {
    let text = golden_channel().to_string();
    assert!(text.contains(from), "{from:?}");
    if let Ok(channel) = parse(&text.replacen(from, to, 1)) {
        panic!("accepted {to:?}: {channel}");
    }
}

// Rules: H1
#[test]
fn lines_stand_in_order() {
    let text = golden_channel().to_string();
    let fixed: Vec<_> = text.lines().take(9).collect();
    let fixed = fixed.join("\n") + "\n";
    let release = text.lines().nth(9).unwrap();
    let one = format!("{fixed}{release}\n");
    assert_each_line_matters(&one, |text| Channel::parse(text).is_ok());
    assert!(parse(&fixed).is_err(), "no release");
    for bad in [
        format!("{one}{release}\n"),
        text.replace("release 42 ", "release 40 "),
        text.replace("release 42 ", "release 41 "),
        text.replace("delta 40 42 ", "delta 41 42 "),
        text.replace("\ndelta 41 42 ", "\ndelta 40 41 "),
        text.replace("image 42 ", "image 41 "),
        text.replace("image 41 ", "image 42 "),
    ] {
        assert_ne!(bad, text);
        assert!(parse(&bad).is_err(), "{bad}");
    }
}

// Rules: H2
#[test]
fn deltas_lie_between_releases_and_epochs_do_not_fall() {
    refused("release 42 3 ", "release 42 2 ");
    refused("\ndelta 41 42 ", "\ndelta 41 43 ");
    refused("\ndelta 41 42 ", "\ndelta 43 42 ");
    refused("\ndelta 41 42 ", "\ndelta 42 42 ");
}

// Rules: H13
#[test]
fn images_are_of_releases_and_not_endless() {
    refused("image 42 default ", "image 43 default ");
    refused("image 42 default ", "image 42 .. ");
    refused("image 42 default ", "image 42 ");
    refused(" 20971520 ", " 1073741825 ");
}

// Rules: H14
#[test]
fn deltas_of_images_lie_between_images_of_one_name() {
    refused("image-delta 41 42 default ", "image-delta 40 42 default ");
    refused("image-delta 41 42 default ", "image-delta 42 42 default ");
    refused("image-delta 41 42 default ", "image-delta 41 42 other ");
    refused("image 41 default ", "image 41 other ");
    let text = golden_channel().to_string();
    let delta = text.lines().last().unwrap();
    assert!(parse(&format!("{text}{delta}\n")).is_err());
    let back = delta.replace(" 41 42 ", " 42 41 ");
    parse(&format!("{text}{back}\n")).unwrap();
}

// Rules: H15
#[test]
fn signatures_are_of_releases_each_once() {
    let text = golden_channel().to_string();
    let digest = "ab".repeat(32);
    let line = |index: u64| format!("signatures {index} {digest} 200 70000\n");
    for lines in [line(41), line(42), line(40) + &line(42)] {
        let channel = parse(&format!("{text}{lines}")).unwrap();
        assert_eq!(channel.to_string(), format!("{text}{lines}"));
        let known = channel.signatures(42);
        assert_eq!(known.is_some(), lines.contains(" 42 "));
    }
    for lines in [
        line(43),
        line(42) + &line(42),
        line(42) + &line(41),
        line(42).replace(" 200 ", " 70001 "),
        line(42).replace(" 70000", ""),
    ] {
        assert!(parse(&format!("{text}{lines}")).is_err(), "{lines}");
    }
    let early = text.replacen("image 41 ", &format!("{}image 41 ", line(41)), 1);
    assert!(parse(&early).is_err());
}

// Rules: H3
#[test]
fn numbers_and_times_make_sense() {
    refused("\nversion 17\n", "\nversion 0\n");
    refused("\nkeyset 1\n", "\nkeyset 0\n");
    refused("\nexpires 1767139200\n", "\nexpires 1764547200\n");
    let created = golden_channel().created;
    let longest = created + limits::MAX_CHANNEL_DAYS * SECONDS_OF_DAY;
    let expires = |at: u64| format!("\nexpires {at}\n");
    let text = golden_channel().to_string();
    assert!(parse(&text.replace(&expires(1_767_139_200), &expires(longest))).is_ok());
    refused("\nexpires 1767139200\n", &expires(longest + 1));
}

// Rules: H4
#[test]
fn heads_and_channels_have_bounds() {
    let text = golden_channel().to_string();
    for kind in ["delta ", "image ", "image-delta "] {
        let line = text.lines().find(|line| line.starts_with(kind)).unwrap();
        let (head, _) = line.rsplit_once(' ').unwrap();
        refused(line, &format!("{head} 3"));
    }
    refused(" 701 701 ", " 701 702 ");
    let long = vec![b'x'; limits::MAX_CHANNEL_BYTES + 1];
    assert!(Channel::parse(&long).is_err());
    assert!(Unverified::<Channel>::parse(&long).is_err());
}

// Rules: H5
#[test]
fn only_channel_keys_make_a_channel() {
    let keyset = trusted(&golden_keyset());
    let channel = golden_channel();
    assert_eq!(*signed(&channel, &[21]).verify(&keyset).unwrap(), channel);
    for others in [&[][..], &[1, 2, 3, 11, 12, 13], &[99]] {
        let error = signed(&channel, others).verify(&keyset).unwrap_err();
        assert_eq!(error.class(), ErrorClass::Untrusted);
    }
    // A signature of one kind of document is worth nothing on another.
    let statement = signed(&golden_statement(), &[21]);
    let forged = statement.to_string();
    let forged = Unverified::<Channel>::parse(forged.as_bytes()).unwrap();
    assert_eq!(
        forged.verify(&keyset).unwrap_err().class(),
        ErrorClass::Untrusted
    );
}

proptest! {
    #[test]
    fn what_parses_is_written_the_same(text in edited(golden_channel().to_string())) {
        if let Ok(channel) = Channel::parse(&text) {
            prop_assert_eq!(channel.to_string().into_bytes(), text);
        }
    }

    #[test]
    fn no_edit_is_verified(file in edited(signed(&golden_channel(), &[21]).to_string())) {
        let keyset: Keyset = golden_keyset();
        if let Ok(document) = Unverified::<Channel>::parse(&file)
            && let Ok(channel) = document.verify(&trusted(&keyset))
        {
            prop_assert_eq!(&*channel, &golden_channel());
        }
    }
}
