// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the boot program says, and how it stops.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::thread::sleep;
use std::time::Duration;

use rustix::system::{RebootCommand, reboot};

use crate::refusal::{Code, Refusal};

/// How long a refusal stays on the screen.
const READING_TIME: Duration = Duration::from_secs(10);

/// Says one line on the console, and in the kernel's log below the level that a console shows, so
/// that a person reads it once. What cannot be said is not said: there is no one to tell.
pub(crate) fn say(line: &str) {
    /// Facility user, level debug.
    const KERNEL_LOG_LEVEL: &str = "<15>";
    for (device, start) in [("/dev/console", ""), ("/dev/kmsg", KERNEL_LOG_LEVEL)] {
        if let Ok(mut device) = OpenOptions::new().write(true).open(device) {
            let _ = device.write_all(format!("{start}sealroot: {line}\n").as_bytes());
        }
    }
}

/// Ends a boot that was refused: says why, and powers the machine off after a while.
///
/// Nothing of the root was started, so nothing is lost but what an earlier boot left unwritten.
pub(crate) fn stop(refusal: &Refusal) -> ! {
    say(&refusal.to_string());
    end("powers off", RebootCommand::PowerOff)
}

/// Ends with something done, and has the machine start again after a while.
pub(crate) fn restart(done: &str) -> ! {
    say(done);
    end("starts again", RebootCommand::Restart)
}

fn end(how: &str, command: RebootCommand) -> ! {
    say(&format!("the machine {how} in 10 seconds"));
    sleep(READING_TIME);
    rustix::fs::sync();
    loop {
        // Where it fails, staying here is all that is left: init must not end.
        let _ = reboot(command);
        sleep(READING_TIME);
    }
}

/// Makes a panic, which is a defect of this program, end like a refusal.
pub(crate) fn stop_on_panic() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map_or_else(
            || "an unknown place".to_owned(),
            std::string::ToString::to_string,
        );
        stop(&Refusal::new(
            Code::Internal,
            "boot program",
            "no defect",
            format!("a panic at {place}"),
        ))
    }));
}
