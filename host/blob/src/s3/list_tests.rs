//! Compares listing with a model: a sorted set of keys.

use std::{collections::BTreeSet, fs};

use proptest::prelude::*;

use super::*;
use crate::{Config, DataReference};

/// Everything a listing yields, objects and common prefixes, by reading page after page.
fn listed(local: &Local, query: &mut Query) -> (Vec<String>, Vec<String>) {
    let (mut objects, mut prefixes) = (Vec::new(), Vec::new());
    loop {
        let page = page(local, "bkt", query).unwrap();
        assert!(page.len() <= query.max_keys);
        objects.extend(page.objects.into_iter().map(|(key, _)| key));
        prefixes.extend(page.prefixes);
        match page.next {
            Some(next) => query.cursor = Cursor::from_token(&next.token()).unwrap(),
            None => return (objects, prefixes),
        }
    }
}

fn model(keys: &BTreeSet<String>, query: &Query) -> (Vec<String>, Vec<String>) {
    let (mut objects, mut prefixes) = (Vec::new(), BTreeSet::new());
    for key in keys.iter().filter(|key| key.starts_with(&query.prefix) && **key > query.cursor.after) {
        let rest = &key[query.prefix.len()..];
        match rest.find(&query.delimiter).filter(|_| !query.delimiter.is_empty()) {
            Some(at) => {
                prefixes.insert(format!("{}{}", query.prefix, &rest[..at + query.delimiter.len()]));
            }
            None => objects.push(key.clone()),
        }
    }
    (objects, prefixes.into_iter().collect())
}

/// Keys over few letters, so that prefixes and neighbours of the slash (`-`, `.`, `0`) are common.
fn key() -> impl Strategy<Value = String> {
    prop::collection::vec("[ab.0-]{1,2}", 1..4)
        .prop_filter("no dot segments", |parts| parts.iter().all(|part| part != "." && part != ".."))
        .prop_map(|parts| parts.join("/"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn listing_agrees_with_the_model(
        wanted in prop::collection::vec(key(), 0..14),
        prefix in "[ab.0/-]{0,3}",
        delimiter in prop::sample::select(vec!["", "/", "-", "a/"]),
        after in prop_oneof![Just(String::new()), key(), "[ab/]{1,3}"],
        max_keys in 1_usize..6,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let local = Local::new(&Config::local(dir.path().join("store")).local).unwrap();
        fs::create_dir_all(local.bucket_dir("bkt").join("empty/dir")).unwrap();
        let mut keys = BTreeSet::new();
        for key in wanted {
            let r = DataReference::new("s3", "bkt", &key).unwrap();
            // A key that is a directory of another one is refused, and then is not there.
            if local.put(&r, &"x".into()).is_ok() {
                keys.insert(key);
            }
        }
        let cursor = Cursor { after, ..Cursor::default() };
        let mut query = Query { prefix, delimiter: delimiter.to_owned(), max_keys, cursor };
        let expected = model(&keys, &query);
        prop_assert_eq!(listed(&local, &mut query), expected);
    }
}

#[test]
fn foreign_token_is_refused() {
    for token in ["", "!!", "eA"] {
        assert_eq!(Cursor::from_token(token), None, "{token}");
    }
}
