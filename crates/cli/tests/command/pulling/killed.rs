// SPDX-License-Identifier: MIT OR Apache-2.0
//! `pull` is killed at any moment: the store is sound, and the next run goes on where it was.

use std::fmt;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use sealroot_remote::pull::MAX_UNKEPT_BYTES;
use sealroot_testkit::content::Numbers;
use sealroot_testkit::http_server::HttpServer;

use super::{DEVICE, Place, Shape, Way};

/// Set to how many kills to play; see [`SHORT_KILLS`].
const KILLS: &str = "SEALROOT_KILLS";

/// Set to a number to play other kills.
const SEED: &str = "SEALROOT_SEED";

/// How many are played otherwise, a third of them for each way.
const SHORT_KILLS: u64 = 36;

const SHAPE: Shape = Shape {
    small_objects: 500,
    large_objects: 12,
    new_objects: 3,
    new_bytes: 9_000_000,
};

/// The longest object, compressed, which is fetched again when it was under way.
const MAX_OBJECT_BYTES: u64 = 1_600_000;

/// The objects under way at a time: the release lies in two bundles.
const OBJECTS_UNDER_WAY: u64 = 2;

/// What each run asks for: channel, statement.
const DOCUMENT_BYTES: u64 = 64 * 1024;

/// What is in the memory of a process that reads from two connections, and what of a piece that the
/// server counts already it has not sent.
const READ_BYTES: u64 = 1 << 20;

/// When a run is killed.
#[derive(Clone, Copy, Debug)]
enum Moment {
    /// So long after it began.
    Time(Duration),
    /// So long after so many bytes have come, and no more will.
    Bytes(u64, Duration),
}

impl Moment {
    /// One in the part `number` of `count` of a run.
    fn choose(number: u64, count: u64, whole: &Whole, random: &mut Numbers) -> Self {
        let within =
            |all: u64, random: &mut Numbers| (all * number + random.below(all.max(1))) / count;
        if number.is_multiple_of(2) {
            let micros = u64::try_from(whole.time.as_micros()).expect("short");
            Self::Time(Duration::from_micros(within(micros, random)))
        } else {
            let pause = Duration::from_micros(random.below(30_000));
            Self::Bytes(within(whole.sent_bytes, random), pause)
        }
    }
}

impl Way {
    /// What may have come and not be kept.
    fn lost_bytes(self) -> u64 {
        let unkept = match self {
            // While one batch is made durable the next comes.
            Self::Bundle => 2 * MAX_UNKEPT_BYTES + OBJECTS_UNDER_WAY * MAX_OBJECT_BYTES,
            Self::Delta | Self::Image => 0,
        };
        DOCUMENT_BYTES + READ_BYTES + unkept
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Time(time) => write!(f, "killed after {time:?}"),
            Self::Bytes(bytes, pause) => write!(f, "killed {pause:?} after {bytes} bytes"),
        }
    }
}

/// A run that nobody interrupts.
struct Whole {
    time: Duration,
    sent_bytes: u64,
    listing: Vec<(PathBuf, u64)>,
}

#[derive(Debug, Default)]
struct Tally {
    killed: u64,
    ended_before: u64,
    most_lost_bytes: u64,
}

impl Place {
    fn pull_from(&self, way: Way, server: &HttpServer) -> Child {
        let line = format!("{DEVICE} {} --from {}", way.pull(), server.url());
        let mut command = self.scratch.command(&line);
        let command = command.stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().expect("it starts")
    }

    fn serve(&self, max_bytes: u64) -> HttpServer {
        HttpServer::serve_at_most(&self.scratch.path("www"), max_bytes).expect("a server")
    }

    /// Pulls to the end; the bytes that were sent.
    fn pull_whole(&self, way: Way, about: &dyn fmt::Display) -> u64 {
        let server = self.serve(u64::MAX);
        let line = format!("{DEVICE} {} --from {}", way.pull(), server.url());
        let ran = self.scratch.run(&line);
        assert_eq!(ran.code, 0, "{about}: {}", ran.err);
        assert_eq!(ran.err, "", "{about}");
        server.sent_bytes()
    }

    fn whole(&self, way: Way) -> Whole {
        self.begin(way);
        let start = Instant::now();
        let sent_bytes = self.pull_whole(way, &"not interrupted");
        let time = start.elapsed();
        self.assert_tidy(&"not interrupted");
        self.assert_sound(&"not interrupted");
        let listing = self.pruned_listing();
        Whole {
            time,
            sent_bytes,
            listing,
        }
    }

    /// Kills a run; whether it was still there, and the bytes that it had read.
    fn kill(&self, way: Way, moment: Moment) -> (bool, u64) {
        let server = self.serve(match moment {
            Moment::Time(_) => u64::MAX,
            Moment::Bytes(bytes, _) => bytes,
        });
        let mut child = self.pull_from(way, &server);
        match moment {
            Moment::Time(time) => sleep(time),
            Moment::Bytes(bytes, pause) => {
                while server.sent_bytes() < bytes && child.try_wait().expect("a child").is_none() {
                    sleep(Duration::from_micros(200));
                }
                sleep(pause);
            }
        }
        if child.try_wait().expect("a child").is_none() {
            kill_process(Pid::from_child(&child), Signal::STOP).expect("stopped");
        }
        server.pause();
        let unread_bytes = server.unread_bytes().expect("a table");
        child.kill().expect("killed");
        let status = child.wait().expect("a child");
        assert!(
            status.success() || status.code().is_none(),
            "{moment}: {status}"
        );
        let read_bytes = server.sent_bytes().saturating_sub(unread_bytes);
        (status.code().is_none(), read_bytes)
    }

    fn kill_and_go_on(&self, way: Way, moment: Moment, whole: &Whole, tally: &mut Tally) {
        self.begin(way);
        let (was_killed, read_bytes) = self.kill(way, moment);
        self.assert_sound(&moment);
        let read_bytes = read_bytes + self.pull_whole(way, &moment);
        self.assert_tidy(&moment);
        self.assert_sound(&moment);
        assert!(
            self.pruned_listing() == whole.listing,
            "{way:?}: {moment}: other files"
        );
        let lost_bytes = read_bytes.saturating_sub(whole.sent_bytes);
        let at_most = way.lost_bytes();
        assert!(
            lost_bytes <= at_most,
            "{way:?}: {moment}: {lost_bytes} bytes came again, expected at most {at_most}"
        );
        if was_killed {
            tally.killed += 1;
        } else {
            tally.ended_before += 1;
        }
        tally.most_lost_bytes = tally.most_lost_bytes.max(lost_bytes);
    }
}

fn number(variable: &str, default: u64) -> u64 {
    let number = |text: String| text.parse().expect("a number");
    std::env::var(variable).map_or(default, number)
}

// Rules: P7
#[test]
#[expect(clippy::print_stderr, reason = "kills can be played again")]
fn whenever_it_is_killed_the_next_run_goes_on() {
    let (kills, seed) = (number(KILLS, SHORT_KILLS), number(SEED, 1));
    // To sync a disk takes most of the time; only the long form does.
    let parent = if kills > SHORT_KILLS {
        std::env::temp_dir()
    } else {
        "/dev/shm".into()
    };
    let place = Place::new(SHAPE, &parent);
    let mut random = Numbers::new(seed);
    let each = kills / Way::ALL.len() as u64;
    for way in Way::ALL {
        let whole = place.whole(way);
        let mut tally = Tally::default();
        for number in 0..each {
            let moment = Moment::choose(number, each, &whole, &mut random);
            place.kill_and_go_on(way, moment, &whole, &mut tally);
        }
        eprintln!(
            "{way:?}, {SEED}={seed}: {tally:?}; whole: {:?}, {} bytes",
            whole.time, whole.sent_bytes
        );
        assert!(tally.killed > tally.ended_before, "{tally:?}");
    }
}
