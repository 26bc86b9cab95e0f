// SPDX-License-Identifier: MIT OR Apache-2.0
//! Kernel arguments: taken apart, changed, refused.

use proptest::prelude::*;
use sealroot::entry::{Boot, EntryError, KernelArguments, Loader};
use sealroot_testkit::memory_io::{MemoryDisk, Trouble};

use crate::support::{Wanted, all};

// Rules: K1, K2, K3
#[test]
fn arguments_are_a_list_that_is_changed_by_key() {
    let mut arguments: KernelArguments = "quiet  root=LABEL=r \"console=ttyS0\" a=\"b\" -- x"
        .parse()
        .expect("arguments");
    assert_eq!(
        arguments.to_string(),
        "quiet root=LABEL=r console=ttyS0 a=b -- x"
    );
    arguments.append("console=tty0").expect("appended");
    assert_eq!(
        arguments.to_string(),
        "quiet root=LABEL=r console=ttyS0 a=b console=tty0 -- x"
    );
    arguments.delete("console").expect_err("two of them");
    arguments.delete("console=ttyS0").expect("deleted");
    arguments.replace("console=hvc0").expect("replaced");
    arguments.replace("root=LABEL=r=UUID=1").expect("replaced");
    arguments.delete("quiet").expect("deleted");
    arguments.delete("quiet").expect_err("gone");
    arguments.replace("new=1").expect("added");
    assert_eq!(
        arguments.to_string(),
        "root=UUID=1 a=b console=hvc0 new=1 -- x"
    );
    for bad in [
        "sealroot=x",
        "sealroot",
        "sealroot.debug",
        "a=\"b c\"",
        "\"a",
        "=b",
        "\u{e9}",
        "a\"b",
    ] {
        assert!(bad.parse::<KernelArguments>().is_err(), "{bad}");
        assert!(arguments.append(bad).is_err(), "{bad}");
    }
    assert!("x".repeat(1801).parse::<KernelArguments>().is_err());
}

// Rules: K4
#[test]
fn what_grub_would_change_is_refused_for_grub_alone() {
    for arguments in ["memmap=1G$4G", "a;b", "#x", "a\\b", "dyndbg=file'x'"] {
        for loader in Loader::ALL {
            let disk = MemoryDisk::new(false);
            let boot = Boot::new(disk.process(Trouble::None), loader, "");
            let mut wanted = Wanted::of(1);
            wanted.arguments = arguments;
            match (loader, wanted.add(&boot, &all)) {
                (Loader::SystemdBoot, result) => drop(result.expect("as it is")),
                (Loader::Firmware, Err(EntryError::NoKernels)) => {}
                (_, Err(EntryError::Argument { .. })) => assert!(disk.files().is_empty()),
                (_, result) => panic!("{arguments}: {result:?}"),
            }
        }
    }
}

proptest! {
    /// What is accepted is written so that it is read as the same.
    #[test]
    fn accepted_arguments_are_read_back(text in "[ -~\\t]{0,80}") {
        if let Ok(arguments) = text.parse::<KernelArguments>() {
            let again: KernelArguments = arguments.to_string().parse().expect("what was written");
            prop_assert_eq!(&again, &arguments);
            prop_assert!(!arguments.to_string().contains('"'));
        }
    }
}

#[test]
fn what_is_no_single_argument_is_not_added() {
    let mut arguments = KernelArguments::default();
    for bad in ["", " ", "\"\"", "a\nb", "a\tb", "a=\u{7f}"] {
        assert!(arguments.append(bad).is_err(), "{bad:?}");
    }
    assert!(arguments.replace("key").is_err());
    assert!(arguments.is_empty());
}
