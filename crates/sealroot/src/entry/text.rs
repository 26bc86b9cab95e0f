// SPDX-License-Identifier: MIT OR Apache-2.0
//! What stands in boot entries: ours to the byte, foreign ones as far as they are listed
//! (docs/format/entries.md 3).

use sealroot_format::digest::Sha256Digest;
use sealroot_format::limits::MAX_BOOT_TITLE_BYTES;
use sealroot_format::policy::DeploymentName;

use super::arguments::KernelArguments;
use super::name::{EntryId, Generation};

/// The sort key of all our entries: one for all, so that the generation decides among them.
pub(super) const SORT_KEY: &str = "sealroot";

/// The directory of our kernels, on the boot partition.
pub(super) const KERNELS: &str = "sealroot";

/// The names in one of its directories.
pub(super) const LINUX: &str = "linux";
pub(super) const INITRD: &str = "initrd";

/// The first byte of the last line: while it is `#`, loaders see no kernel in the entry and pass
/// over it; with `l` the entry boots.
pub(super) const INACTIVE: u8 = b'#';
pub(super) const ACTIVE: u8 = b'l';

/// What an entry of ours says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryText {
    /// For people: one line without control characters.
    pub title: String,
    /// The kernel arguments, without the one that names the deployment.
    pub arguments: KernelArguments,
    /// The deployment that boots.
    pub deployment: DeploymentName,
    /// Which kernel and initramfs.
    pub files: Sha256Digest,
}

/// Whether a title is one line that loaders show as it is.
pub(super) fn is_title(text: &str) -> bool {
    !text.is_empty()
        && text.trim() == text
        && text.len() <= MAX_BOOT_TITLE_BYTES
        && !text.chars().any(char::is_control)
}

impl EntryText {
    /// The whole file; `prefix` is what comes before our paths, as the loader resolves them.
    ///
    /// The line with the kernel is the last: a file that ends too early has none.
    pub(super) fn render(&self, generation: Generation, prefix: &str) -> String {
        let Self {
            title,
            arguments,
            deployment,
            files,
        } = self;
        let space = if arguments.is_empty() { "" } else { " " };
        format!(
            "title {title}\nversion {generation}\nsort-key {SORT_KEY}\n\
             options {arguments}{space}sealroot={deployment}\n\
             initrd {prefix}/{KERNELS}/{files}/{INITRD}\n\
             linux {prefix}/{KERNELS}/{files}/{LINUX}\n"
        )
    }

    /// Reads an entry of ours; the reason if it is not what [`EntryText::render`] writes for a
    /// file of this name.
    pub(super) fn parse(text: &str, id: &EntryId, prefix: &str) -> Result<Self, String> {
        let fields = Fields::parse(text);
        let required = |key| fields.get(key).ok_or_else(|| format!("it has no {key}"));
        let (arguments, deployment) = split_options(required("options")?)?;
        let linux = required("linux")?;
        let files = linux
            .strip_prefix(prefix)
            .and_then(referenced)
            .ok_or_else(|| format!("its kernel is {linux:?}, which is none of ours"))?;
        let entry = Self {
            title: required("title")?.to_owned(),
            arguments,
            deployment,
            files,
        };
        if !is_title(&entry.title) {
            return Err("its title is not valid".to_owned());
        }
        if !id.is_of(&deployment) {
            return Err(format!(
                "it boots {deployment}, which its name does not say"
            ));
        }
        if entry.render(id.generation, prefix) != text {
            return Err("it is not what sealroot writes".to_owned());
        }
        Ok(entry)
    }
}

fn split_options(options: &str) -> Result<(KernelArguments, DeploymentName), String> {
    const TOKEN: &str = "sealroot=";
    let (arguments, last) = options.rsplit_once(' ').unwrap_or(("", options));
    let deployment = last
        .strip_prefix(TOKEN)
        .and_then(|name| name.parse().ok())
        .ok_or_else(|| format!("its options end in {last:?}, expected {TOKEN}<commit>.<serial>"))?;
    let arguments = arguments.parse::<KernelArguments>();
    Ok((arguments.map_err(|error| error.to_string())?, deployment))
}

/// The directory of ours that a path on the boot partition leads into.
fn referenced(path: &str) -> Option<Sha256Digest> {
    let mut names = path.split('/').filter(|name| !name.is_empty());
    (names.next()? == KERNELS).then_some(())?;
    Sha256Digest::from_hex(names.next()?)
}

/// The keys and values of any entry, in their order.
#[derive(Clone, Debug, Default)]
pub(super) struct Fields<'t>(Vec<(&'t str, &'t str)>);

impl<'t> Fields<'t> {
    /// Reads what loaders read: lines of a key, white space and a value.
    pub(super) fn parse(text: &'t str) -> Self {
        let field = |line: &'t str| {
            let line = line.trim();
            let (key, value) = line.split_once([' ', '\t'])?;
            (!line.starts_with('#')).then(|| (key, value.trim()))
        };
        Self(text.split(['\n', '\r']).filter_map(field).collect())
    }

    /// The last value of a key, which is the one that counts.
    pub(super) fn get(&self, key: &str) -> Option<&'t str> {
        let is_of_key = |(of, _): &&(&str, &'t str)| *of == key;
        let field = self.0.iter().rfind(is_of_key);
        field.map(|(_, value)| *value)
    }
}
