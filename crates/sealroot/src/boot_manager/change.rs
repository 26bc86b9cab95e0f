// SPDX-License-Identifier: MIT OR Apache-2.0
//! Changing what the firmware starts: each step is one write of one variable.

use super::load_option::{name_of, render, render_numbers};
use super::options::{NEXT, ORDER, failed};
use super::{BootManager, BootManagerError, Options};
use crate::store::again;

impl BootManager {
    /// Makes sure that a load option starts the file at `path`; gives its number. One that starts it
    /// already, but is not as it should be, is written anew in its place.
    pub fn ensure(&self, title: &str, path: &str) -> Result<u16, BootManagerError> {
        let found = self.options()?;
        let number = match found.of(path) {
            Some(option) if option.is_intact() => return Ok(option.number),
            Some(option) => option.number,
            None => free_number(&found)?,
        };
        self.write(&name_of(number), &render(title, &self.partition, path))?;
        Ok(number)
    }

    /// Has the firmware start a load option from now on: it comes before all others, whose order stays.
    pub fn put_first(&self, number: u16) -> Result<(), BootManagerError> {
        let found = self.options()?;
        let others = found.order.iter().filter(|other| **other != number);
        let order: Vec<u16> = [number].iter().chain(others).copied().collect();
        self.write_order(&found, &order)?;
        self.forget_once(number)
    }

    /// Has the firmware start a load option no more than `BootOrder` says.
    pub fn forget_once(&self, number: u16) -> Result<(), BootManagerError> {
        if self.options()?.next == Some(number) {
            return self.remove(NEXT);
        }
        Ok(())
    }

    /// Has the firmware start nothing of ours only once. What is somebody else's stays.
    pub fn forget_next(&self) -> Result<(), BootManagerError> {
        let found = self.options()?;
        let is_ours = |next: u16| found.ours.iter().any(|option| option.number == next);
        if found.next.is_some_and(is_ours) {
            return self.remove(NEXT);
        }
        Ok(())
    }

    /// Has the firmware start a load option the next time, and only then.
    pub fn start_once(&self, number: u16) -> Result<(), BootManagerError> {
        if self.options()?.next == Some(number) {
            return Ok(());
        }
        self.write(NEXT, &render_numbers(&[number]))
    }

    /// Removes those load options of ours that start none of the files for which `is_used`, and of
    /// several that start the same one, all but one. Gives the numbers.
    pub fn retain(&self, is_used: &dyn Fn(&str) -> bool) -> Result<Vec<u16>, BootManagerError> {
        let found = self.options()?;
        let is_needed = |option: &&super::OurOption| {
            let chosen = found.of(&option.path).map(|chosen| chosen.number);
            is_used(&option.path) && chosen == Some(option.number)
        };
        let gone = found.ours.iter().filter(|option| !is_needed(option));
        let gone: Vec<u16> = gone.map(|option| option.number).collect();
        if gone.is_empty() {
            return Ok(gone);
        }
        let stay = found.order.iter().filter(|number| !gone.contains(number));
        let order: Vec<u16> = stay.copied().collect();
        self.write_order(&found, &order)?;
        if found.next.is_some_and(|next| gone.contains(&next)) {
            self.remove(NEXT)?;
        }
        for number in &gone {
            self.remove(&name_of(*number))?;
        }
        Ok(gone)
    }

    fn write_order(&self, found: &Options, order: &[u16]) -> Result<(), BootManagerError> {
        match order {
            _ if found.order == order => Ok(()),
            [] => self.remove(ORDER),
            order => self.write(ORDER, &render_numbers(order)),
        }
    }

    /// Writes a variable and reads it back: firmware has been seen to forget.
    fn write(&self, name: &str, content: &[u8]) -> Result<(), BootManagerError> {
        again(|| self.variables.write(name, content)).map_err(failed("write", name))?;
        let found = self.read(name)?.unwrap_or_default();
        if found == content {
            return Ok(());
        }
        Err(BootManagerError::NotKept {
            name: name.to_owned(),
            expected: content.escape_ascii().to_string(),
            found: found.escape_ascii().to_string(),
        })
    }

    fn remove(&self, name: &str) -> Result<(), BootManagerError> {
        again(|| self.variables.remove(name)).map_err(failed("remove", name))
    }
}

/// A number that stands nowhere: one that `BootOrder` names already would be started at once.
fn free_number(found: &Options) -> Result<u16, BootManagerError> {
    let free = (0..=u16::MAX).find(|number| !found.is_taken(*number));
    free.ok_or_else(|| BootManagerError::TooMany {
        found: found.strangers.len(),
        max: usize::from(u16::MAX),
    })
}
