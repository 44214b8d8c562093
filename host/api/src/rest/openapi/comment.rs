//! Finds the comments of the `.proto` files, where the descriptors carry them.

use std::collections::HashMap;

use prost_reflect::{DescriptorPool, FileDescriptor};

/// Comments by file and by the place of what they belong to.
pub(super) struct Comments(HashMap<(String, Vec<i32>), String>);

impl Comments {
    pub(super) fn of(pool: &DescriptorPool) -> Self {
        let mut found = HashMap::new();
        for file in pool.files() {
            let info = file.file_descriptor_proto().source_code_info.iter();
            for location in info.flat_map(|info| &info.location) {
                let leading = location.leading_comments();
                let text = if leading.is_empty() { location.trailing_comments() } else { leading };
                let lines: Vec<_> = text.lines().map(str::trim).collect();
                let text = lines.join("\n").trim().to_owned();
                if !text.is_empty() {
                    found.insert((file.name().to_owned(), location.path.clone()), text);
                }
            }
        }
        Self(found)
    }

    pub(super) fn find(&self, file: &FileDescriptor, path: &[i32]) -> Option<&str> {
        if self.0.is_empty() {
            return None;
        }
        self.0.get(&(file.name().to_owned(), path.to_vec())).map(String::as_str)
    }
}
