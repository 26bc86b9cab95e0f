// SPDX-License-Identifier: MIT OR Apache-2.0
//! Other kernels: what a release boots with, and what they must refuse as the usual one does: A60.

use super::{Attack, Machine, catalogue};
use crate::kernel::{Later, Series};

/// What is played on each: nothing at all, and one of each kind of what only the kernel can refuse.
const PLAYED: [&str; 4] = [
    "the fixed command line alone",
    "object damaged: first block",
    "object without fs-verity",
    "pack damaged: tree",
];

/// These, on each kernel of later Debians.
pub fn kernel_catalogue() -> Vec<Attack> {
    let on = |later: Later| {
        let series = Series::Later(later);
        catalogue()
            .into_iter()
            .filter(|attack| PLAYED.contains(&attack.name.as_str()))
            .map(move |attack| Attack {
                id: "A60",
                name: format!("Linux {}: {}", series.name(), attack.name),
                machine: Machine {
                    series,
                    ..Machine::default()
                },
                ..attack
            })
    };
    Later::ALL.into_iter().flat_map(on).collect()
}
