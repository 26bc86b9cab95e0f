// SPDX-License-Identifier: MIT OR Apache-2.0
//! `sealroot diff`

use std::io::{self, Write};

use anyhow::Context as _;
use clap::Args;
use sealroot::delta::{self, Costs};
use sealroot::diff::{self, Diff as Changes, Group};
use serde::Serialize;

use crate::args::Common;
use crate::cmd::delta::{Between, Side};
use crate::name::AnyName;
use crate::output::{Output, Report, counted};
use crate::progress::Progress;

/// Show what an update changes and what that costs, by groups of paths.
///
/// The cost is what devices fetch with a delta. That of a group is an estimate: it is compressed by itself,
/// which makes a little more than its part of the delta of all. What names, metadata and small files cost is
/// what they take there, as `delta` says too.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Diff {
    #[command(flatten)]
    between: Between,

    /// Only what changes; the cost takes as long as making a delta.
    #[arg(long)]
    quick: bool,
}

const EXAMPLES: &str = "\
Examples:
  sealroot --store store diff 4c1f 9a03
  sealroot --store store diff 4c1f 9a03 --quick";

#[derive(Serialize)]
struct DiffReport {
    groups: Vec<GroupReport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pack_cost_bytes: Option<u64>,
    /// Files that have not changed, and lie beside the pack now.
    #[serde(skip_serializing_if = "Option::is_none")]
    unchanged_cost_bytes: Option<u64>,
}

#[derive(Serialize)]
struct GroupReport {
    path: AnyName,
    added: u64,
    removed: u64,
    changed: u64,
    touched: u64,
    content_bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    cost_bytes: Option<u64>,
}

impl GroupReport {
    fn new(group: &Group, cost_bytes: Option<u64>) -> Self {
        Self {
            path: group.path.as_ref().into(),
            added: group.added,
            removed: group.removed,
            changed: group.changed,
            touched: group.touched,
            content_bytes: group.content_bytes,
            cost_bytes,
        }
    }
}

impl Report for DiffReport {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        if self.groups.is_empty() {
            return writeln!(out, "nothing has changed");
        }
        let mut row = |cells: [&str; 6], path: &dyn std::fmt::Display| {
            let [added, removed, changed, touched, content, cost] = cells;
            writeln!(
                out,
                "{added:>7} {removed:>7} {changed:>7} {touched:>8} {content:>12} {cost:>11}  {path}"
            )
        };
        let head = [
            "added",
            "removed",
            "changed",
            "metadata",
            "new content",
            "cost",
        ];
        row(head, &"")?;
        let text =
            |bytes: Option<u64>| bytes.map_or_else(|| "-".to_owned(), |bytes| bytes.to_string());
        for group in &self.groups {
            let numbers = [group.added, group.removed, group.changed, group.touched];
            let [added, removed, changed, touched] = numbers.map(|number| number.to_string());
            let content = group.content_bytes.to_string();
            let cost = text(group.cost_bytes);
            row(
                [&added, &removed, &changed, &touched, &content, &cost],
                &group.path,
            )?;
        }
        if let Some(bytes) = self.pack_cost_bytes {
            let groups = self.groups.iter().filter_map(|group| group.cost_bytes);
            let unchanged = self.unchanged_cost_bytes.unwrap_or_default();
            if unchanged > 0 {
                writeln!(out, "{unchanged} for unchanged files that become objects")?;
            }
            let small = "names, metadata and small files";
            let all = counted(groups.sum::<u64>() + unchanged + bytes, "byte");
            writeln!(out, "{bytes} more for {small}; about {all} in all")?;
        }
        Ok(())
    }
}

impl Diff {
    pub(crate) fn run(&self, common: &Common, output: Output) -> anyhow::Result<()> {
        let store = common.open_store()?;
        let [from, to] = self.between.read(&store)?;
        let changes = diff::diff(&from.tree, &to.tree)?;
        let costs = if self.quick {
            None
        } else {
            Some(costs(&changes, &from, &to, &store, output)?)
        };
        let cost_of = |place: usize| costs.as_ref()?.object_bytes.get(place).copied();
        let groups = changes.groups.iter().enumerate();
        output.emit(&DiffReport {
            groups: groups
                .map(|(place, group)| GroupReport::new(group, cost_of(place)))
                .collect(),
            pack_cost_bytes: costs.as_ref().map(|costs| costs.pack_bytes),
            unchanged_cost_bytes: costs.as_ref().map(|costs| costs.other_bytes),
        })
    }
}

fn costs(
    changes: &Changes,
    from: &Side,
    to: &Side,
    store: &sealroot::store::Store,
    output: Output,
) -> anyhow::Result<Costs> {
    let progress = Progress::new(output);
    let kind_of = |digest: &_| changes.objects.get(digest).copied();
    let (from, to) = (from.release(store), to.release(store));
    let kinds = changes.groups.len();
    let scratch = tempfile::tempfile().context("cannot make a temporary file")?;
    Ok(delta::costs(
        &from, &to, kinds, &kind_of, scratch, &progress,
    )?)
}
