// SPDX-License-Identifier: MIT OR Apache-2.0
//! The part of `GLib`'s key file format that a repository's `config` needs.

/// Groups of keys and values, as text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct KeyFile<'a> {
    /// Group, key, value, in order of appearance.
    entries: Vec<(&'a str, &'a str, &'a str)>,
}

/// A line that is neither blank, a comment, a group nor a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BadLine {
    /// Counted from 1.
    pub(super) number: usize,
}

impl<'a> KeyFile<'a> {
    /// Parses a whole file.
    pub(super) fn parse(text: &'a str) -> Result<Self, BadLine> {
        let mut entries = Vec::new();
        let mut group = None;
        for (line, number) in text.lines().zip(1..) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if let Some(name) = line
                .strip_prefix('[')
                .and_then(|rest| rest.strip_suffix(']'))
            {
                group = Some(name);
                continue;
            }
            match (group, line.split_once('=')) {
                (Some(group), Some((key, value))) => {
                    entries.push((group, key.trim_end(), value.trim_start()));
                }
                _ => return Err(BadLine { number }),
            }
        }
        Ok(Self { entries })
    }

    /// Whether a group has any key.
    pub(super) fn has_group(&self, group: &str) -> bool {
        self.entries.iter().any(|(g, ..)| *g == group)
    }

    /// The value of a key; the last one counts.
    pub(super) fn get(&self, group: &str, key: &str) -> Option<&'a str> {
        self.entries
            .iter()
            .rev()
            .find_map(|(g, k, value)| (*g == group && *k == key).then_some(*value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_merge_and_the_last_value_counts() {
        let file = KeyFile::parse(
            "# c\n\n[core]\nmode=bare\nrepo_version = 1\n[remote \"o\"]\nmode=x\n[core]\nmode= a=b \n",
        );
        let file = file.unwrap();
        assert_eq!(file.get("core", "mode"), Some("a=b"));
        assert_eq!(file.get("core", "repo_version"), Some("1"));
        assert_eq!(file.get("remote \"o\"", "mode"), Some("x"));
        assert_eq!(file.get("core", "x"), None);
    }

    #[test]
    fn lines_outside_the_format_are_named() {
        for (text, number) in [("mode=bare", 1), ("[core]\nmode", 2), ("[core\n", 1)] {
            assert_eq!(KeyFile::parse(text), Err(BadLine { number }), "{text}");
        }
    }
}
