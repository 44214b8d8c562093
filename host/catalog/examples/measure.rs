//! Measures keys, lookups and puts: `cargo run --release -p catalog --example measure`.
#![allow(clippy::unwrap_used, reason = "a measurement that can't go on says so by panicking")]

use std::time::Instant;

use blob::Blob;
use catalog::{Catalog, Lookup, Put, Signature, TaskKey, task_key};
use model::Timestamp;
use proto::flyteidl::core::*;
use store::Store;

const N: u32 = 10_000;

fn integer(value: i64) -> Literal {
    let primitive = Primitive { value: Some(primitive::Value::Integer(value)) };
    let scalar = Scalar { value: Some(scalar::Value::Primitive(primitive)) };
    Literal { value: Some(literal::Value::Scalar(Box::new(scalar))), ..Literal::default() }
}

fn template() -> TaskTemplate {
    let ty = LiteralType {
        r#type: Some(literal_type::Type::Simple(SimpleType::Integer.into())),
        ..LiteralType::default()
    };
    let variable = Variable { r#type: Some(ty), ..Variable::default() };
    let variables = |names: &[&str]| VariableMap {
        variables: names.iter().map(|name| ((*name).to_owned(), variable.clone())).collect(),
    };
    TaskTemplate {
        id: Some(Identifier { name: "t".to_owned(), ..Identifier::default() }),
        metadata: Some(TaskMetadata { discovery_version: "1".to_owned(), ..TaskMetadata::default() }),
        interface: Some(TypedInterface {
            inputs: Some(variables(&["a", "b", "c"])),
            outputs: Some(variables(&["o"])),
        }),
        ..TaskTemplate::default()
    }
}

fn inputs(n: u32) -> LiteralMap {
    let entries = [("a", 0), ("b", i64::from(n)), ("c", 7)];
    let literals = entries.into_iter().map(|(name, value)| (name.to_owned(), integer(value))).collect();
    LiteralMap { literals }
}

fn say(what: &str, start: Instant) {
    let took = start.elapsed();
    println!("{what:<34} {took:>10.2?}  {:>8.2?} each", took / N);
}

#[tokio::main]
async fn main() {
    let all: Vec<LiteralMap> = (0..N).map(inputs).collect();
    let start = Instant::now();
    let template = template();
    let keys: Vec<TaskKey> = all.iter().map(|inputs| task_key(&template, inputs).unwrap()).collect();
    say("keys, one template each", start);
    let start = Instant::now();
    let signature = Signature::of(&template).unwrap();
    let same: Vec<TaskKey> = all.iter().map(|inputs| signature.key(inputs).unwrap()).collect();
    say("keys, one signature for all", start);
    assert_eq!(keys, same);

    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&store::Config::sqlite(dir.path().join("pinion.db"))).await.unwrap();
    let blob = Blob::new(blob::Config::local(dir.path().join("objects"))).unwrap();
    let catalog = Catalog::new(store, blob);
    let (now, source) = (Timestamp(1_000_000), TaskExecutionIdentifier::default());

    let start = Instant::now();
    for key in keys.iter().take(1_000) {
        catalog.lookup(key, None, now).await.unwrap();
    }
    println!("one miss of an empty cache         {:>10.2?}", start.elapsed() / 1_000);
    let start = Instant::now();
    let puts: Vec<Put<'_>> = keys
        .iter()
        .zip(&all)
        .map(|(key, outputs)| Put { key, source: &source, outputs, overwrite: false })
        .collect();
    catalog.put_many(&puts, now).await.unwrap();
    say("puts in one transaction", start);
    let start = Instant::now();
    let found = catalog.lookup_many(&keys, None, now).await.unwrap();
    say("hits in one lookup", start);
    assert!(found.iter().all(|lookup| matches!(lookup, Lookup::Hit(_))));
    let start = Instant::now();
    for key in &keys {
        catalog.lookup(key, None, now).await.unwrap();
    }
    say("hits one by one", start);
    let misses: Vec<TaskKey> = (N..2 * N).map(|n| signature.key(&inputs(n)).unwrap()).collect();
    let start = Instant::now();
    catalog.lookup_many(&misses, None, now).await.unwrap();
    say("misses in one lookup", start);
    let start = Instant::now();
    for key in misses.iter().take(1_000) {
        catalog.lookup(key, None, now).await.unwrap();
    }
    println!("one miss beside other entries      {:>10.2?}", start.elapsed() / 1_000);
    let start = Instant::now();
    let tasks = misses.iter().map(|key| {
        let (catalog, source) = (catalog.clone(), source.clone());
        async move { catalog.put(key, &source, &inputs(1), false, now).await.unwrap() }
    });
    futures::future::join_all(tasks).await;
    say("puts at once, one by one", start);
}
