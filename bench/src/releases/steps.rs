// SPDX-License-Identifier: MIT OR Apache-2.0
//! An update of a Debian, taken in steps: what has changed, by the source packages it belongs to.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::measure::output;

/// Links in the root to directories of the same name in `usr`.
const MERGED: [&str; 5] = ["bin", "lib", "lib32", "lib64", "sbin"];

/// Where dpkg keeps which files a package has.
const INFO: &str = "var/lib/dpkg/info";

/// The steps of an update.
#[derive(Debug)]
pub(super) struct Steps {
    /// The source packages of each.
    sources: Vec<Vec<String>>,
    /// The paths of each that are others than before.
    paths: Vec<Vec<PathBuf>>,
}

impl Steps {
    /// Cuts an update into so many steps. What belongs to no package that has changed, such as the list
    /// of packages, is in the last.
    pub(super) fn new(old: &Path, new: &Path, count: usize) -> Result<Self> {
        let changed = changed_paths(old, new)?;
        let owners = owners(old, new)?;
        let owner = |path: &Path| {
            let owner = path.ancestors().find_map(|path| owners.get(path));
            owner.cloned().flatten()
        };
        let mut by_source: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
        let mut rest = Vec::new();
        for path in changed {
            match owner(&path) {
                Some(source) => by_source.entry(source).or_default().push(path),
                None => rest.push(path),
            }
        }
        let mut steps = Self {
            sources: vec![Vec::new(); count],
            paths: vec![Vec::new(); count],
        };
        let number = by_source.len();
        for (place, (source, paths)) in by_source.into_iter().enumerate() {
            let step = place * count / number;
            steps.sources[step].push(source);
            steps.paths[step].extend(paths);
        }
        steps.paths[count - 1].extend(rest);
        Ok(steps)
    }

    /// The source packages of each step.
    pub(super) fn sources(&self) -> &[Vec<String>] {
        &self.sources
    }

    /// Brings a tree from before a step behind it.
    pub(super) fn take(&self, step: usize, new: &Path, tree: &Path) -> Result<()> {
        // What is in a directory comes before the directory.
        for path in self.paths[step].iter().rev() {
            let path = tree.join(path);
            match fs::symlink_metadata(&path) {
                Ok(metadata) if !metadata.is_dir() => fs::remove_file(&path)?,
                // One that is not empty has other packages' files.
                Ok(_) => drop(fs::remove_dir(&path)),
                Err(_) => {}
            }
        }
        let is_new = |path: &&PathBuf| fs::symlink_metadata(new.join(path)).is_ok();
        let (directories, files): (Vec<_>, Vec<_>) = (self.paths[step].iter())
            .filter(is_new)
            .partition(|path| new.join(path).is_dir() && !new.join(path).is_symlink());
        for directory in directories {
            fs::create_dir_all(tree.join(directory))?;
        }
        if !files.is_empty() {
            let mut copy = Command::new("cp");
            copy.args(["--archive", "--parents", "--target-directory"]);
            output(copy.arg(tree).args(files).current_dir(new))?;
        }
        let mut date = Command::new("find");
        date.arg(tree).args(["-exec", "touch", "--no-dereference"]);
        output(date.args(["--date=@0", "{}", "+"])).map(drop)
    }
}

/// Checks that nothing is left of an update.
pub(super) fn check_same(tree: &Path, new: &Path) -> Result<()> {
    let changed = changed_paths(tree, new)?;
    let first = changed.first();
    ensure!(first.is_none(), "after the last step {first:?} is another");
    Ok(())
}

/// The paths that are not the same in both trees, a directory before what is in it.
fn changed_paths(old: &Path, new: &Path) -> Result<BTreeSet<PathBuf>> {
    let mut paths = BTreeSet::new();
    for tree in [old, new] {
        collect(tree, Path::new(""), &mut paths)?;
    }
    let mut changed = BTreeSet::new();
    for path in paths {
        if !is_same(&old.join(&path), &new.join(&path))? {
            changed.insert(path);
        }
    }
    Ok(changed)
}

fn collect(tree: &Path, directory: &Path, paths: &mut BTreeSet<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(tree.join(directory))? {
        let entry = entry?;
        let path = directory.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            collect(tree, &path, paths)?;
        }
        paths.insert(path);
    }
    Ok(())
}

fn is_same(old: &Path, new: &Path) -> Result<bool> {
    let (Ok(before), Ok(after)) = (fs::symlink_metadata(old), fs::symlink_metadata(new)) else {
        return Ok(false);
    };
    let kind = |metadata: &fs::Metadata| (metadata.mode(), metadata.uid(), metadata.gid());
    if kind(&before) != kind(&after) {
        return Ok(false);
    }
    if before.is_symlink() {
        return Ok(fs::read_link(old)? == fs::read_link(new)?);
    }
    if !before.is_file() {
        return Ok(true);
    }
    Ok(before.len() == after.len() && fs::read(old)? == fs::read(new)?)
}

/// The source package that each path belongs to, for the packages that have changed. `None` for a
/// path that others have as well.
fn owners(old: &Path, new: &Path) -> Result<BTreeMap<PathBuf, Option<String>>> {
    let (before, after) = (packages(old)?, packages(new)?);
    let mut owners: BTreeMap<PathBuf, Option<String>> = BTreeMap::new();
    for (tree, packages, others) in [(old, &before, &after), (new, &after, &before)] {
        for (package, found) in packages {
            let is_changed = others.get(package) != Some(found);
            let source = is_changed.then(|| found.source.clone());
            for path in listed(tree, package)? {
                let owner = owners.entry(path).or_insert_with(|| source.clone());
                if *owner != source {
                    *owner = None;
                }
            }
        }
    }
    Ok(owners)
}

#[derive(Debug, PartialEq, Eq)]
struct Package {
    source: String,
    version: String,
}

/// The packages of a tree, by their names.
fn packages(tree: &Path) -> Result<BTreeMap<String, Package>> {
    let text = fs::read_to_string(tree.join("var/lib/dpkg/status"))?;
    let paragraph = |paragraph: &str| {
        let field = |name: &str| {
            let mut lines = paragraph.lines();
            let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
            value.map(str::to_owned)
        };
        let name = field("Package")?;
        // A source of another version is written `name (version)`.
        let source = field("Source").and_then(|source| Some(source.split(' ').next()?.to_owned()));
        let package = Package {
            source: source.unwrap_or_else(|| name.clone()),
            version: field("Version")?,
        };
        Some((name, package))
    };
    Ok(text.split("\n\n").filter_map(paragraph).collect())
}

/// The paths of a package, and what dpkg keeps about it.
fn listed(tree: &Path, package: &str) -> Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(tree.join(INFO))? {
        let name = entry?.file_name();
        let name = name.to_str().context("a name of dpkg")?;
        let Some((stem, kind)) = name.rsplit_once('.') else {
            continue;
        };
        if stem.split(':').next() != Some(package) {
            continue;
        }
        paths.push(Path::new(INFO).join(name));
        if kind == "list" {
            let list = fs::read_to_string(tree.join(INFO).join(name))?;
            let lines = list.lines().filter_map(|line| line.strip_prefix('/'));
            paths.extend(lines.filter(|line| *line != ".").map(merged));
        }
    }
    Ok(paths)
}

/// Where a path of a package is in the tree.
fn merged(path: &str) -> PathBuf {
    let path = Path::new(path);
    if MERGED.iter().any(|link| path.starts_with(link)) {
        return Path::new("usr").join(path);
    }
    path.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(root: &Path, version: &str, files: &[(&str, &str)]) {
        let write = |path: &str, content: &str| {
            let path = root.join(path);
            fs::create_dir_all(path.parent().expect("below the root")).expect("a directory");
            fs::write(path, content).expect("a file");
        };
        let package = |name: &str, version: &str| format!("Package: {name}\nVersion: {version}\n");
        let kernel = format!("linux-{version}");
        let status = [
            package("one", version),
            package("same", "1"),
            format!("Package: {kernel}\nSource: linux (9)\nVersion: 1\n"),
        ];
        write("var/lib/dpkg/status", &status.join("\n"));
        write(
            "var/lib/dpkg/info/one:amd64.list",
            "/.\n/usr\n/lib\n/lib/one\n",
        );
        write(
            "var/lib/dpkg/info/same.list",
            "/.\n/usr\n/usr/lib\n/usr/lib/same\n",
        );
        let list = format!("/.\n/usr\n/usr/lib\n/usr/lib/{version}\n/usr/lib/{version}/driver\n");
        write(&format!("var/lib/dpkg/info/{kernel}.list"), &list);
        for (path, content) in files {
            write(path, content);
        }
    }

    #[test]
    fn packages_come_step_by_step_and_the_rest_comes_last() {
        let scratch = tempfile::tempdir().expect("a directory");
        let [old, new, work] = ["old", "new", "work"].map(|name| scratch.path().join(name));
        let before = [
            ("usr/lib/one", "a"),
            ("usr/lib/same", "a"),
            ("usr/lib/1/driver", "a"),
            ("usr/lib/1/index", "a"),
            ("etc/cache", "a"),
        ];
        tree(&old, "1", &before);
        tree(&work, "1", &before);
        let after = [
            ("usr/lib/one", "b"),
            ("usr/lib/same", "a"),
            ("usr/lib/2/driver", "b"),
            ("usr/lib/2/index", "b"),
            ("etc/cache", "b"),
        ];
        tree(&new, "2", &after);
        let steps = Steps::new(&old, &new, 2).expect("steps");
        assert_eq!(steps.sources(), [["linux"], ["one"]]);

        let read = |path: &str| fs::read_to_string(work.join(path)).ok();
        steps.take(0, &new, &work).expect("a step");
        assert_eq!(read("usr/lib/2/index").as_deref(), Some("b"));
        assert!(!work.join("usr/lib/1").exists());
        assert_eq!(read("usr/lib/one").as_deref(), Some("a"));
        assert_eq!(read("etc/cache").as_deref(), Some("a"));
        check_same(&work, &new).expect_err("a step is left");
        steps.take(1, &new, &work).expect("a step");
        check_same(&work, &new).expect("all steps were taken");
    }
}
