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
pub(super) const IMAGE: &str = "uki.efi";

/// In the place of the first byte of the last line: with it, loaders see nothing to start in the entry and pass
/// over it.
pub(super) const INACTIVE: u8 = b'#';

/// What names the deployment, in the arguments of a kernel or in a comment.
const DEPLOYMENT: &str = "sealroot=";

/// What an entry of ours says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryText {
    /// For people: one line without control characters.
    pub title: String,
    /// What it starts.
    pub starts: Starts,
    /// The deployment that boots.
    pub deployment: DeploymentName,
    /// Which kernel and initramfs, or image.
    pub files: Sha256Digest,
}

/// What an entry starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Starts {
    /// A kernel and an initramfs, with these arguments besides the one that names the deployment.
    Kernel(KernelArguments),
    /// A unified kernel image, which has its arguments inside.
    Image,
}

impl Starts {
    /// The files in a directory of ours.
    pub(super) const fn names(&self) -> &'static [&'static str] {
        match self {
            Self::Kernel(_) => &[LINUX, INITRD],
            Self::Image => &[IMAGE],
        }
    }

    /// The key of the last line, by which loaders start something.
    pub(super) const fn key(&self) -> &'static str {
        match self {
            Self::Kernel(_) => "linux",
            Self::Image => "efi",
        }
    }

    /// The arguments of a kernel.
    pub const fn arguments(&self) -> Option<&KernelArguments> {
        match self {
            Self::Kernel(arguments) => Some(arguments),
            Self::Image => None,
        }
    }
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
    /// The line with what is started is the last: a file that ends too early has none.
    pub(super) fn render(&self, generation: Generation, prefix: &str) -> String {
        let Self {
            title,
            starts,
            deployment,
            files,
        } = self;
        let head = format!("title {title}\nversion {generation}\nsort-key {SORT_KEY}\n");
        let path = format!("{prefix}/{KERNELS}/{files}");
        match starts {
            Starts::Kernel(arguments) => {
                let space = if arguments.is_empty() { "" } else { " " };
                format!(
                    "{head}options {arguments}{space}{DEPLOYMENT}{deployment}\n\
                     initrd {path}/{INITRD}\nlinux {path}/{LINUX}\n"
                )
            }
            Starts::Image => format!("{head}# {DEPLOYMENT}{deployment}\nefi {path}/{IMAGE}\n"),
        }
    }

    /// Reads an entry of ours; the reason if it is not what [`EntryText::render`] writes for a
    /// file of this name.
    pub(super) fn parse(text: &str, id: &EntryId, prefix: &str) -> Result<Self, String> {
        let fields = Fields::parse(text);
        let required = |key| fields.get(key).ok_or_else(|| format!("it has no {key}"));
        let (starts, deployment, started) = if let Some(image) = fields.get("efi") {
            (Starts::Image, commented(text)?, image)
        } else {
            let (arguments, deployment) = split_options(required("options")?)?;
            (Starts::Kernel(arguments), deployment, required("linux")?)
        };
        let files = started
            .strip_prefix(prefix)
            .and_then(referenced)
            .ok_or_else(|| format!("it starts {started:?}, which is none of ours"))?;
        let entry = Self {
            title: required("title")?.to_owned(),
            starts,
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
    let (arguments, last) = options.rsplit_once(' ').unwrap_or(("", options));
    let deployment = last
        .strip_prefix(DEPLOYMENT)
        .and_then(|name| name.parse().ok())
        .ok_or_else(|| {
            format!("its options end in {last:?}, expected {DEPLOYMENT}<commit>.<serial>")
        })?;
    let arguments = arguments.parse::<KernelArguments>();
    Ok((arguments.map_err(|error| error.to_string())?, deployment))
}

/// The deployment that a comment names.
fn commented(text: &str) -> Result<DeploymentName, String> {
    let mut comments = text.lines().filter_map(|line| line.strip_prefix("# "));
    let name = comments.find_map(|comment| comment.strip_prefix(DEPLOYMENT)?.parse().ok());
    name.ok_or_else(|| format!("it has no comment {DEPLOYMENT}<commit>.<serial>"))
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
