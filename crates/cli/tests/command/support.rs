// SPDX-License-Identifier: MIT OR Apache-2.0
//! Running the command in a directory of its own.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use sealroot_format::ErrorClass;
use serde_json::Value;

/// The options of a command that looks at the scratch store.
pub(crate) const STORE: &str = "--store store --keyset vendor.keyset";

/// A directory for one test, where commands are run.
pub(crate) struct Scratch {
    pub(crate) directory: tempfile::TempDir,
}

/// How a run ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: Vec<u8>,
    pub(crate) err: String,
}

impl Ran {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.out.clone()).expect("text")
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.out).expect("JSON on standard output")
    }
}

impl Scratch {
    pub(crate) fn new() -> Self {
        Self {
            directory: tempfile::tempdir().expect("a scratch directory"),
        }
    }

    pub(crate) fn new_in(parent: &Path) -> Self {
        Self {
            directory: tempfile::tempdir_in(parent).expect("a scratch directory"),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("not the root")).expect("a directory");
        fs::write(path, content).expect("a file");
    }

    /// A small tree with one large file, as `tree`.
    pub(crate) fn small_tree(&self) {
        self.write("tree/usr/bin/large", vec![7; 100_000]);
        self.write("tree/etc/hostname", "example\n");
    }

    /// Keys, and the small tree in a store, not signed yet; its commit.
    pub(crate) fn built(&self) -> String {
        self.small_tree();
        self.ok("keys new vendor");
        self.build("--index 1")
    }

    /// Builds `tree` into the store; the commit.
    pub(crate) fn build(&self, options: &str) -> String {
        let line =
            format!("{STORE} --json build --dir tree --os exampleos --stream stable {options}");
        let built = self.ok(&line).json();
        built["commit"].as_str().expect("a commit").to_owned()
    }

    /// Builds `tree` into the store as a release of this index, and signs it; the commit.
    pub(crate) fn release(&self, index: u64) -> String {
        let commit = self.build(&format!("--index {index}"));
        self.ok(&format!("{STORE} sign {commit} --key vendor.secret"));
        commit
    }

    /// Like [`Scratch::built`], and signed.
    pub(crate) fn signed(&self) -> String {
        let commit = self.built();
        self.ok(&format!("{STORE} sign {commit} --key vendor.secret"));
        commit
    }

    /// The command with the words of `line`, to be run here.
    pub(crate) fn command(&self, line: &str) -> Command {
        self.command_of(env!("CARGO_BIN_EXE_sealroot"), line)
    }

    /// Any program with the words of `line`, to be run here.
    pub(crate) fn command_of(&self, program: &str, line: &str) -> Command {
        let mut command = Command::new(program);
        command
            .args(line.split_whitespace())
            .current_dir(self.directory.path())
            .env_remove("SOURCE_DATE_EPOCH")
            .stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, line: &str) -> Ran {
        finished(self.command(line).output().expect("it starts"))
    }

    /// Runs the command as a user without rights, who must be able to use the directory.
    pub(crate) fn run_as_nobody(&self, line: &str) -> Ran {
        // Nobody may be unable to reach the program where it was built.
        let program = self.path("sealroot");
        if !program.exists() {
            // Were it written here, what other tests start meanwhile would have it open, and it could not run.
            let mut copy = Command::new("cp");
            let copied = copy
                .arg(env!("CARGO_BIN_EXE_sealroot"))
                .arg(&program)
                .status();
            assert!(copied.expect("cp starts").success());
        }
        let drop_rights = "--reuid 65534 --regid 65534 --clear-groups ./sealroot";
        let mut command = self.command_of("setpriv", &format!("{drop_rights} {line}"));
        finished(command.output().expect("setpriv starts"))
    }

    /// Runs what must succeed.
    pub(crate) fn ok(&self, line: &str) -> Ran {
        let ran = self.run(line);
        assert_eq!(ran.code, 0, "{line}: {}", ran.err);
        ran
    }

    /// Runs what must fail in this way and print nothing but an error, which says all of `words`
    /// and how to go on; the error.
    pub(crate) fn refused(&self, class: ErrorClass, line: &str, words: &[&str]) -> String {
        let ran = self.run(line);
        check_refusal(&ran, class, line, words)
    }

    /// All files here and in what is below, as paths from here and the lengths of files.
    pub(crate) fn listing(&self, below: &str) -> Vec<(PathBuf, u64)> {
        let mut found = Vec::new();
        let mut open = vec![self.path(below)];
        while let Some(directory) = open.pop() {
            for entry in fs::read_dir(directory).expect("a readable directory") {
                let entry = entry.expect("an entry");
                let stat = entry.path().symlink_metadata().expect("it is there");
                let path = entry.path();
                let relative = path.strip_prefix(self.directory.path()).expect("below");
                let len = if stat.is_dir() { 0 } else { stat.len() };
                found.push((relative.to_owned(), len));
                if stat.is_dir() {
                    open.push(path);
                }
            }
        }
        found.sort();
        found
    }

    /// The only file in a directory whose name ends so.
    pub(crate) fn only(&self, directory: &str, ending: &str) -> PathBuf {
        let entries = fs::read_dir(self.path(directory)).expect("a directory");
        let paths = entries.map(|entry| entry.expect("an entry").path());
        let mut paths = paths.filter(|path| path.to_str().is_some_and(|p| p.ends_with(ending)));
        let only = paths.next().expect("one");
        assert_eq!(paths.next(), None);
        only
    }
}

pub(crate) fn finished(output: Output) -> Ran {
    let ran = Ran {
        code: output.status.code().expect("not killed"),
        out: output.stdout,
        err: String::from_utf8(output.stderr).expect("text"),
    };
    assert!(!ran.err.contains("panicked"), "{}", ran.err);
    ran
}

/// See [`Scratch::refused`].
pub(crate) fn check_refusal(ran: &Ran, class: ErrorClass, line: &str, words: &[&str]) -> String {
    assert_eq!(
        ran.code,
        i32::from(class.exit_code()),
        "{line}: {}",
        ran.err
    );
    let mut lines = ran.err.lines();
    let first = lines.find(|line| !line.starts_with("note: "));
    assert!(
        first.is_some_and(|line| line.starts_with("error: ")),
        "{line}: {}",
        ran.err
    );
    for word in words {
        assert!(ran.err.contains(word), "{line}: no {word:?} in {}", ran.err);
    }
    ran.err.clone()
}

/// Changes one byte of a file.
pub(crate) fn flip(path: &Path, at: usize, mask: u8) {
    let mut bytes = fs::read(path).expect("a file");
    bytes[at] ^= mask;
    overwrite(path, &bytes);
}

/// Gives a file other content; its inode stays.
pub(crate) fn overwrite(path: &Path, bytes: &[u8]) {
    let mut file = fs::File::create(path).expect("a file");
    file.write_all(bytes).expect("it is written");
}
