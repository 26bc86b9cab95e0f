// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the fuzzer runs of this room: each panics where what must hold does not.

use super::path::{self, StorePath, known};
use super::remote::RemoteEntry;
use super::{StoreDir, config};

/// A `store.toml`.
pub fn store_config(data: &[u8]) {
    if let Ok(verity) = config::parse(data) {
        assert_eq!(config::parse(config::render(verity).as_bytes()), Ok(verity));
    }
}

/// Names in the directories of a store: each is that of one thing, and leads out of nothing.
pub fn store_names(data: &[u8]) {
    if let Some(path) = StorePath::new(data) {
        let names: Vec<_> = path.as_bytes().split(|byte| *byte == b'/').collect();
        let is_root = path == StorePath::root();
        assert!(is_root || !names.iter().any(|name| matches!(*name, b"" | b"." | b"..")));
        if let Some((directory, name)) = path.split() {
            assert_eq!(directory.join(name), Some(path));
        }
    }
    if let Some((prefix, name)) = data.split_at_checked(2)
        && let Some(digest) = path::parse_object_name(prefix, name)
    {
        let directory = known("objects").join(prefix).expect("digits");
        assert_eq!(directory.join(name), Some(path::object_path(&digest)));
    }
    if let Some(digest) = path::parse_pack_name(data) {
        assert_eq!(StoreDir::Pack.join(data), Some(path::pack_path(&digest)));
    }
    if let Some(image) = path::parse_image_name(data) {
        assert_eq!(StoreDir::Pack.join(data), Some(path::image_path(&image)));
    }
    if let Some((commit, stream)) = path::parse_statement_name(data) {
        let path = path::statement_path(&commit, &stream);
        assert_eq!(StoreDir::Pack.join(data), Some(path));
    }
    if let Some(name) = path::parse_deployment_name(data) {
        let path = path::deployment_path(&name);
        assert_eq!(StoreDir::Deploy.join(data), Some(path));
    }
    match RemoteEntry::parse(data) {
        Some(RemoteEntry::Remote(name)) => assert_eq!(data, format!("{name}.toml").as_bytes()),
        Some(RemoteEntry::Part(head)) => assert_eq!(data, format!("{head}.part").as_bytes()),
        None => {}
    }
}
