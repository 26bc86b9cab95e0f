// SPDX-License-Identifier: MIT OR Apache-2.0
//! What must hold for every parser of outside bytes, whatever the bytes: one function each, which panics where it does
//! not hold (docs/design/fuzzing.md).
//!
//! The fuzzer of `fuzz/` runs them on bytes of its own making, a test of this crate on the corpus that it left.

#![forbid(unsafe_code)]

mod documents;
mod entries;
mod image;
mod patches;
mod updates;

/// A function and what it takes.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name: that of the fuzzer's program and of its corpus.
    pub name: &'static str,
    /// Panics where what must hold does not.
    pub run: fn(&[u8]),
}

macro_rules! targets {
    ($($($room:ident)::+ { $($name:ident,)* })*) => {
        /// All of them.
        pub const TARGETS: &[Target] = &[
            $($(Target {
                name: stringify!($name),
                run: $name,
            },)*)*
        ];

        $(pub use $($room)::+::{$($name),*};)*
    };
}

targets! {
    documents {
        statement,
        keyset,
        channel,
        policy,
        command_line,
        kept_file,
        floor,
        keys,
        verity_certificates,
    }
    image {
        pack,
        tree_lines,
    }
    patches {
        patch,
        patch_round_trip,
        numbers,
        opened,
        closed,
        kernel,
        adjusted,
    }
    entries {
        entry_order,
    }
    updates {
        delta_apply,
    }
    sealroot::activate::fuzz {
        staged_flag,
    }
    sealroot::boot_manager::fuzz {
        load_option,
        boot_order,
    }
    sealroot::delta::fuzz {
        delta_head,
        delta_group,
        delta_text,
        image_head,
    }
    sealroot::deploy::fuzz {
        deployment_record,
    }
    sealroot::entry::fuzz {
        boot_entry,
        kernel_arguments,
        name_pattern,
    }
    sealroot::initramfs::fuzz {
        initramfs,
        module_list,
    }
    sealroot::machine::fuzz {
        booted_record,
    }
    sealroot::ostree::fuzz {
        ostree_commit,
        ostree_dictionary,
        ostree_dirtree,
        ostree_dirmeta,
        ostree_file,
        ostree_content,
        ostree_config,
        ostree_keys,
    }
    sealroot::seal::fuzz {
        signature_lists,
    }
    sealroot::store::fuzz {
        store_config,
        store_names,
    }
    sealroot::uki::fuzz {
        efi_image,
        efi_signatures,
    }
    sealroot_boot::fuzz {
        device_start,
    }
    sealroot_remote::fuzz {
        bundle_head,
        bundle_pack,
        remote_state,
        signature_head,
        signature_group,
    }
}

pub use updates::{DeltaSeeds, delta_seeds};

/// The target of this name.
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}
