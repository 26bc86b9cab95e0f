// SPDX-License-Identifier: MIT OR Apache-2.0
//! The time in an update of a floor: no time of day, but a function of the floor, so that the
//! firmware takes a later floor for a later time and refuses every earlier one.

use super::Floor;

/// Bits of the index in the number that the time stands for: [`crate::limits::MAX_FLOOR_INDEX`].
const INDEX_BITS: u32 = 27;

/// Bytes of an `EFI_TIME`.
pub const TIME_BYTES: usize = 16;

const FIRST_YEAR: u64 = 1970;

/// The `EFI_TIME` of a floor: epoch times 2^27 plus index, written as a date and time of years with
/// twelve months of 28 days, from 1970 on. The last is in the year 6704.
pub fn of(floor: Floor) -> [u8; TIME_BYTES] {
    let epoch = floor.epoch.checked_shl(INDEX_BITS).unwrap_or(u64::MAX);
    let number = epoch.saturating_add(floor.index);
    let (number, second) = (number / 60, number % 60);
    let (number, minute) = (number / 60, number % 60);
    let (number, hour) = (number / 24, number % 24);
    let (number, day) = (number / 28, number % 28);
    let (years, month) = (number / 12, number % 12);
    let year = u16::try_from(years.saturating_add(FIRST_YEAR)).unwrap_or(u16::MAX);
    let byte = |number| u8::try_from(number).unwrap_or(u8::MAX);
    let mut time = [0; TIME_BYTES];
    // What follows, nanoseconds, zone and padding, UEFI wants to be zero in such a time.
    let fields = (year.to_le_bytes().into_iter()).chain([
        byte(month.saturating_add(1)),
        byte(day.saturating_add(1)),
        byte(hour),
        byte(minute),
        byte(second),
    ]);
    for (at, field) in time.iter_mut().zip(fields) {
        *at = field;
    }
    time
}
