// SPDX-License-Identifier: MIT OR Apache-2.0
//! Trees whose modules and documentation are taken decompressed.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use sealroot::monitor::Warnings;
use sealroot::object::Discard;
use sealroot::source::{Compressed, DirectoryOptions, SourceError, read_directory};
use sealroot::spool::Spool;
use sealroot_format::tree::Tree;
use sealroot_testkit::kernel::{GuestKernel, Series};
use tempfile::TempDir;

use crate::support::{message, read};

fn run(program: &str, arguments: &[&str], directory: &Path) {
    let mut command = Command::new(program);
    let status = command.args(arguments).current_dir(directory).status();
    assert!(status.expect(program).success(), "{program} {arguments:?}");
}

fn write(root: &Path, path: &str, content: impl AsRef<[u8]>) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().expect("it has one")).expect("a directory");
    fs::write(path, content).expect("a file");
}

/// Nothing but content, names and targets of a tree is to differ.
fn without_times(root: &Path) {
    let all = [
        ".",
        "-exec",
        "touch",
        "--no-dereference",
        "--date=@0",
        "{}",
        "+",
    ];
    run("find", &all, root);
}

fn normalized(root: &Path) -> (Result<Tree, SourceError>, Vec<String>) {
    let options = DirectoryOptions {
        compressed: Compressed::Normalize,
        ..DirectoryOptions::default()
    };
    let warnings = Warnings::default();
    let spool = Spool::in_temporary_directory();
    let tree = read_directory(root, &options, &spool, &Discard, &warnings);
    (tree, warnings.take())
}

/// The same files twice: as they are compressed, and as `then` says they should be taken.
fn expect_same(fill: impl Fn(&Path), then: impl Fn(&Path)) {
    let roots = [(); 2].map(|()| tempfile::tempdir().expect("a temporary directory"));
    let [compressed, expected] = roots.each_ref().map(TempDir::path);
    fill(compressed);
    fill(expected);
    then(expected);
    for root in [compressed, expected] {
        without_times(root);
    }
    let (tree, warnings) = normalized(compressed);
    assert!(warnings.is_empty(), "{warnings:?}");
    let expected = read(expected).expect("a readable tree");
    assert!(tree.expect("a readable tree") == expected);
}

#[test]
fn modules_and_their_lists_are_as_if_they_had_never_been_compressed() {
    let Some(kernel) = GuestKernel::find(Series::V6_12) else {
        return;
    };
    let directory = format!("usr/lib/modules/{}", kernel.release());
    let depmod = |root: &Path| {
        let usr = root.join("usr");
        let usr = usr.to_str().expect("plain");
        run("/sbin/depmod", &["--basedir", usr, kernel.release()], root);
    };
    let fill = |root: &Path| {
        let to = root.join(&directory);
        for part in ["kernel/fs", "kernel/net/key"] {
            let to = to.join(part);
            fs::create_dir_all(to.parent().expect("it has one")).expect("a directory");
            let from = kernel.modules_directory().join(part);
            let paths = [&from, &to].map(|path| path.to_str().expect("plain"));
            run("cp", &[&["--recursive"], &paths[..]].concat(), root);
        }
        let zstd = ["--rm", "--quiet", "erofs.ko"];
        run(
            "xz",
            &["--decompress", "erofs.ko.xz"],
            &to.join("kernel/fs/erofs"),
        );
        run("zstd", &zstd, &to.join("kernel/fs/erofs"));
        for name in [
            "modules.order",
            "modules.builtin",
            "modules.builtin.modinfo",
        ] {
            fs::copy(kernel.modules_directory().join(name), to.join(name)).expect("a list");
        }
        depmod(root);
    };
    expect_same(fill, |root| {
        let script = "find . -name '*.xz' -exec xz --decompress {} + && \
                      find . -name '*.zst' -exec zstd --decompress --rm --quiet {} +";
        run("sh", &["-ec", script], root);
        depmod(root);
    });
}

#[test]
fn pages_lose_their_endings_and_symlinks_follow() {
    let fill = |root: &Path| {
        let share = root.join("usr/share");
        for (path, content) in [
            ("man/man1/vim.1", "How to leave it.".as_bytes()),
            ("man/man1/long.1", &[b'x'; 10_000]),
            ("doc/vim/NEWS", b"Nothing."),
            ("info/vim.info", b"More."),
        ] {
            write(&share, path, content);
        }
        write(root, "srv/plain.gz", "no gzip, and no page");
        run(
            "gzip",
            &["--no-name", "man/man1/vim.1", "doc/vim/NEWS"],
            &share,
        );
        run("xz", &["man/man1/long.1"], &share);
        run("zstd", &["--rm", "--quiet", "info/vim.info"], &share);
        fs::create_dir_all(root.join("etc/alternatives")).expect("a directory");
        for (target, link) in [
            ("vim.1.gz", "usr/share/man/man1/vi.1.gz"),
            ("vi.1.gz", "usr/share/man/man1/ex.1.gz"),
            (
                "/etc/alternatives/editor.1.gz",
                "usr/share/man/man1/editor.1.gz",
            ),
            (
                "/usr/share/man/man1/vim.1.gz",
                "etc/alternatives/editor.1.gz",
            ),
            ("../../man/man1/../man1/long.1.xz", "usr/share/doc/vim/page"),
            ("vim", "usr/share/doc/vim-tiny"),
            ("../vim-tiny/NEWS.gz", "usr/share/doc/vim/CHANGES.gz"),
            ("nowhere.gz", "usr/share/doc/vim/dangling.gz"),
            ("round.gz", "usr/share/doc/vim/round.gz"),
            ("/srv/plain.gz", "usr/share/doc/vim/plain.gz"),
        ] {
            symlink(target, root.join(link)).expect("a symlink");
        }
        let names = ["man/man1/vim.1.gz", "man/man1/view.1.gz"];
        fs::hard_link(share.join(names[0]), share.join(names[1])).expect("a link");
    };
    expect_same(fill, |root| {
        let share = root.join("usr/share");
        let man = share.join("man/man1");
        fs::remove_file(man.join("view.1.gz")).expect("a link");
        run(
            "gzip",
            &["--decompress", "man/man1/vim.1.gz", "doc/vim/NEWS.gz"],
            &share,
        );
        run("xz", &["--decompress", "man/man1/long.1.xz"], &share);
        run(
            "zstd",
            &["--decompress", "--rm", "--quiet", "info/vim.info.zst"],
            &share,
        );
        fs::hard_link(man.join("vim.1"), man.join("view.1")).expect("a link");
        for (target, link, old) in [
            ("vim.1", "usr/share/man/man1/vi.1", ".gz"),
            ("vi.1", "usr/share/man/man1/ex.1", ".gz"),
            (
                "/etc/alternatives/editor.1.gz",
                "usr/share/man/man1/editor.1",
                ".gz",
            ),
            (
                "/usr/share/man/man1/vim.1",
                "etc/alternatives/editor.1.gz",
                "",
            ),
            (
                "../../man/man1/../man1/long.1",
                "usr/share/doc/vim/page",
                "",
            ),
            ("../vim-tiny/NEWS", "usr/share/doc/vim/CHANGES", ".gz"),
        ] {
            fs::remove_file(root.join(format!("{link}{old}"))).expect("a symlink");
            symlink(target, root.join(link)).expect("a symlink");
        }
    });
}

/// What is said of a tree with these files, paths starting at the root.
fn refusal(fill: impl Fn(&Path)) -> String {
    let root = tempfile::tempdir().expect("a temporary directory");
    fill(root.path());
    let error = normalized(root.path()).0.expect_err("it is refused");
    message(&error, root.path())
}

/// What is said of a tree that is taken as it is all the same.
fn warnings_of_unchanged(root: &Path) -> Vec<String> {
    let (tree, mut warnings) = normalized(root);
    assert!(tree.expect("a tree") == read(root).expect("a tree"));
    warnings.sort_unstable();
    warnings
}

#[test]
fn a_page_that_cannot_be_decompressed_stays() {
    for content in ["this is no gzip", ""] {
        let root = tempfile::tempdir().expect("a temporary directory");
        write(root.path(), "usr/share/man/man1/ls.1.gz", content);
        let warnings = warnings_of_unchanged(root.path());
        let [warning] = &warnings[..] else {
            panic!("{warnings:?}")
        };
        let expected = "usr/share/man/man1/ls.1.gz stays compressed: it cannot be decompressed: ";
        assert!(warning.starts_with(expected), "{warning}");
    }
}

#[test]
fn pages_whose_name_is_taken_stay() {
    let root = tempfile::tempdir().expect("a temporary directory");
    let root = root.path();
    write(root, "usr/share/man/ls.1", "A page.");
    run("gzip", &["--keep", "usr/share/man/ls.1"], root);
    write(root, "usr/share/doc/NEWS", "Nothing.");
    run("gzip", &["--keep", "usr/share/doc/NEWS"], root);
    run("xz", &["usr/share/doc/NEWS"], root);
    let stays = |name: &str, other: &str| {
        format!(
            "usr/share/{name} stays compressed: \"{other}\" is there too, and both would have one name"
        )
    };
    let expected = [
        stays("doc/NEWS.gz", "NEWS.xz"),
        stays("doc/NEWS.xz", "NEWS.gz"),
        stays("man/ls.1.gz", "ls.1"),
    ];
    assert_eq!(warnings_of_unchanged(root), expected);
}

#[test]
fn what_others_name_must_be_decompressed() {
    const MODULE: &str = "usr/lib/modules/6.12/a.ko";
    let said = refusal(|root| write(root, &format!("{MODULE}.xz"), "this is no xz"));
    let expected = "cannot normalize ROOT/usr/lib/modules/6.12/a.ko.xz; without that, it is taken \
                    as it is: it cannot be decompressed: ";
    assert!(said.starts_with(expected), "{said}");

    let bomb = |root: &Path| {
        let path = root.join(MODULE);
        write(root, MODULE, "");
        let zeros = fs::File::create(path).expect("a file");
        zeros.set_len((64 << 20) + 1).expect("a sparse file");
        run("zstd", &["--rm", "--quiet", MODULE], root);
    };
    let said = refusal(bomb);
    assert!(
        said.ends_with("decompressed it has more than 67108864 bytes"),
        "{said}"
    );

    let said = refusal(|root| write(root, "usr/lib/modules/6.12/modules.dep.bin", "none"));
    assert!(
        said.ends_with("no index of modules as depmod writes them, version 2.1"),
        "{said}"
    );
}

#[test]
fn names_that_would_lie_are_refused() {
    let module = "usr/lib/modules/6.12/a.ko";
    for (other, kept) in [("a.ko", "--keep"), ("a.ko.zst", "--force")] {
        let said = refusal(|root| {
            write(root, module, "A module.");
            run("xz", &[kept, module], root);
            write(root, &format!("usr/lib/modules/6.12/{other}"), "Another.");
        });
        let expected = format!(
            "cannot normalize ROOT/{module}.xz; without that, it is taken as it is: \"{other}\" is \
             there too, and both would have one name"
        );
        assert_eq!(said, expected);
    }

    let said = refusal(|root| {
        write(root, "usr/share/man/ls.1", "A page.");
        run("gzip", &["usr/share/man/ls.1"], root);
        let names = ["usr/share/man/ls.1.gz", "usr/share/ls.gz"].map(|name| root.join(name));
        fs::hard_link(&names[0], &names[1]).expect("a link");
    });
    let expected = "cannot normalize ROOT/usr/share/man/ls.1.gz; without that, it is taken as it \
                    is: it is \"usr/share/ls.gz\" as well, where it would stay as it is";
    assert_eq!(said, expected);
}
