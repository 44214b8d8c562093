//! Grafts changes into messages with unknown fields at every depth.

use proto::flyteidl::core::{
    Container, Identifier, KeyValuePair, TaskTemplate, TypedInterface, Variable, VariableMap,
    task_template::Target,
};

use super::*;

const TEMPLATE: &str = "flyteidl.core.TaskTemplate";

/// An unknown field: number 900, a text.
fn unknown(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    put(900, text.as_bytes(), &mut out);
    out
}

fn joined(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

fn message(number: u32, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    put(number, body, &mut out);
    out
}

/// A template with unknown fields in itself, its id, its container, an environment variable and a map entry; and
/// its fields in an order that no encoder of ours would choose.
fn arrived() -> Vec<u8> {
    let pair = |key: &str| {
        let pair = KeyValuePair { key: key.to_owned(), value: "1".to_owned() };
        message(5, &joined(&[&unknown(key), &pair.encode_to_vec()]))
    };
    let container = joined(&[&unknown("container"), &pair("A"), &pair("B"), &message(1, b"img")]);
    let variable = Variable { description: "d".to_owned(), ..Variable::default() };
    let entry = |key: &str| {
        let value = joined(&[&variable.encode_to_vec(), &unknown(key)]);
        message(1, &joined(&[&message(2, &value), &message(1, key.as_bytes())]))
    };
    let interface = message(1, &joined(&[&entry("z"), &entry("a")]));
    let id = Identifier { name: "old".to_owned(), ..Identifier::default() };
    joined(&[
        &message(6, &container),
        &unknown("template"),
        &message(4, &interface),
        &message(1, &joined(&[&unknown("id"), &id.encode_to_vec()])),
        &message(2, b"python"),
    ])
}

fn paths(bytes: &[u8]) -> Vec<String> {
    Type::named(TEMPLATE).unknown(bytes).into_iter().map(|found| found.path).collect()
}

#[test]
fn unchanged_messages_are_the_bytes_that_arrived() {
    let bytes = arrived();
    let read = TaskTemplate::decode(bytes.as_slice()).unwrap();
    assert_ne!(read.encode_to_vec(), bytes);
    assert_eq!(Type::named(TEMPLATE).keep(&bytes, &read), bytes);
}

#[test]
fn a_change_keeps_unknown_fields_and_touches_nothing_else() {
    let bytes = arrived();
    let mut changed = TaskTemplate::decode(bytes.as_slice()).unwrap();
    changed.id.as_mut().unwrap().name = "new".to_owned();
    let Some(Target::Container(container)) = &mut changed.target else { panic!() };
    container.env[1].value = "2".to_owned();
    let grafted = Type::named(TEMPLATE).keep(&bytes, &changed);
    assert_eq!(TaskTemplate::decode(grafted.as_slice()).unwrap(), changed);
    assert_eq!(paths(&grafted), paths(&bytes));
    assert_eq!(
        paths(&grafted),
        [
            "/900",
            "/container/900",
            "/container/env/0/900",
            "/container/env/1/900",
            "/id/900",
            "/interface/inputs/variables/a/value/900",
            "/interface/inputs/variables/z/value/900",
        ]
    );
    assert_eq!(field(&grafted, 4), field(&bytes, 4), "the interface did not change");
    let env = |bytes: &[u8]| fields(&field(bytes, 6), 5).next().map(<[u8]>::to_vec);
    assert_eq!(env(&grafted), env(&bytes), "the first variable did not change");
}

#[test]
fn what_is_new_or_gone_needs_no_source() {
    let bytes = arrived();
    let mut changed = TaskTemplate::decode(bytes.as_slice()).unwrap();
    let interface = changed.interface.as_mut().unwrap();
    interface.inputs.as_mut().unwrap().variables.remove("a");
    interface.outputs =
        Some(VariableMap { variables: [("o".to_owned(), Variable::default())].into_iter().collect() });
    changed.target = None;
    let grafted = Type::named(TEMPLATE).keep(&bytes, &changed);
    assert_eq!(TaskTemplate::decode(grafted.as_slice()).unwrap(), changed);
    assert_eq!(paths(&grafted), ["/900", "/id/900", "/interface/inputs/variables/z/value/900"]);
}

#[test]
fn parts_of_one_message_are_put_together() {
    let id = |field: u32, text: &str| message(1, &message(field, text.as_bytes()));
    let bytes = joined(&[&id(2, "p"), &message(2, b"python"), &id(3, "d"), &message(1, &unknown("x"))]);
    let mut changed = TaskTemplate::decode(bytes.as_slice()).unwrap();
    changed.r#type = "other".to_owned();
    let grafted = Type::named(TEMPLATE).keep(&bytes, &changed);
    assert_eq!(TaskTemplate::decode(grafted.as_slice()).unwrap(), changed);
    assert_eq!(paths(&grafted), ["/id/900"]);
}

#[test]
fn unknown_fields_of_any_wire_type_are_told_apart() {
    let of = |bytes: &[u8]| Unknown::fingerprint(&Type::named(TEMPLATE).unknown(bytes));
    let group = b"\xa3\x38\x08\x01\xa4\x38";
    let kinds: [&[u8]; 5] =
        [b"\xa0\x38\x05", b"\xa5\x38\x01\0\0\0", b"\xa1\x38\x01\0\0\0\0\0\0\0", b"\xa2\x38\x01x", group];
    for bytes in kinds {
        assert_eq!(Type::named(TEMPLATE).unknown(bytes).len(), 1);
        assert!(TaskTemplate::decode(bytes).is_ok());
        let grafted = Type::named(TEMPLATE)
            .keep(bytes, &TaskTemplate { r#type: "x".to_owned(), ..TaskTemplate::default() });
        assert_eq!(of(&grafted), of(bytes));
    }
    assert_ne!(of(b"\xa0\x38\x05"), of(b"\xa0\x38\x06"));
    assert_eq!(of(&TaskTemplate::default().encode_to_vec()), Vec::<u8>::new());
}

#[test]
fn broken_bytes_and_unknown_types_harm_nothing() {
    let after = TaskTemplate { r#type: "x".to_owned(), ..TaskTemplate::default() };
    assert_eq!(Type::named(TEMPLATE).keep(b"\xff\xff", &after), after.encode_to_vec());
    assert_eq!(Type::named("no.such.Type").keep(b"", &after), after.encode_to_vec());
    assert!(fields(b"\x0a\x7f\x01", 1).next().is_none());
    assert!(field(&[], 1).is_empty());
    assert!(entry(b"\x0a\x7f", 1, "a").is_none());
}

#[test]
fn an_entry_is_found_by_its_key() {
    let map = |name: &str| TypedInterface {
        inputs: Some(VariableMap {
            variables: [("a", "x"), ("b", name)]
                .map(|(key, text)| {
                    (key.to_owned(), Variable { description: text.to_owned(), ..Variable::default() })
                })
                .into_iter()
                .collect(),
        }),
        outputs: None,
    };
    let bytes = [map("old"), map("new")].map(|map| map.encode_to_vec()).concat();
    let found = entry(&field(&bytes, 1), 1, "b").unwrap().into_owned();
    assert_eq!(Variable::decode(found.as_slice()).unwrap().description, "new");
    assert!(entry(&field(&bytes, 1), 1, "c").is_none());
}

#[test]
fn many_elements_take_time_in_proportion() {
    let container = |n: usize| Container {
        env: (0..n).map(|n| KeyValuePair { key: n.to_string(), value: String::new() }).collect(),
        ..Container::default()
    };
    let time = |n: usize| {
        let before = container(n);
        let bytes = joined(&[&before.encode_to_vec(), &unknown("x")]);
        let mut after = before;
        after.env.iter_mut().for_each(|pair| pair.value = "1".to_owned());
        let start = std::time::Instant::now();
        let grafted = Type::named("flyteidl.core.Container").keep(&bytes, &after);
        assert_eq!(Container::decode(grafted.as_slice()).unwrap(), after);
        start.elapsed()
    };
    let (few, many) = (time(2_000), time(40_000));
    assert!(many < few * 200, "{few:?} for 2,000 and {many:?} for 40,000");
}
