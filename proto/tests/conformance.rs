//! Compares the descriptors of this crate with those of the flyteidl wheel that clients install.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use prost::Message;
use prost_reflect::{
    DescriptorPool, DynamicMessage, EnumDescriptor, ExtensionDescriptor, FieldDescriptor, MessageDescriptor,
    ServiceDescriptor, Value,
};
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{FileDescriptorProto, FileDescriptorSet};

/// Packages that must be the same on both sides, with everything below them.
const PACKAGES: [&str; 3] = ["flyteidl", "datacatalog", "google.api"];

/// Statements about one descriptor pool; two pools agree when they make the same statements.
struct Facts {
    http: ExtensionDescriptor,
    facts: BTreeSet<String>,
}

impl Facts {
    fn of(pool: &DescriptorPool) -> BTreeSet<String> {
        let http = pool.get_extension_by_name("google.api.http").expect("the pool has no google.api.http");
        let mut this = Self { http, facts: BTreeSet::new() };
        pool.all_messages().filter(|m| in_scope(m.package_name())).for_each(|m| this.message(&m));
        pool.all_enums().filter(|e| in_scope(e.package_name())).for_each(|e| this.enumeration(&e));
        pool.services().filter(|s| in_scope(s.package_name())).for_each(|s| this.service(&s));
        this.facts
    }

    fn message(&mut self, message: &MessageDescriptor) {
        let name = message.full_name();
        self.facts.insert(format!("message {name} in {}", message.parent_file().name()));
        for range in message.reserved_ranges() {
            self.facts.insert(format!("reserved {name} {range:?}"));
        }
        for reserved in message.reserved_names() {
            self.facts.insert(format!("reserved {name} {reserved}"));
        }
        message.fields().for_each(|field| self.field(&field));
    }

    fn field(&mut self, field: &FieldDescriptor) {
        let oneof = field.containing_oneof().map_or_else(|| "-".to_owned(), |oneof| oneof.name().to_owned());
        let descriptor = field.field_descriptor_proto();
        self.facts.insert(format!(
            "field {} = {} {:?} {:?} oneof {oneof} json {} optional {} packed {} deprecated {}",
            field.full_name(),
            field.number(),
            field.kind(),
            field.cardinality(),
            field.json_name(),
            descriptor.proto3_optional(),
            field.is_packed(),
            descriptor.options.as_ref().is_some_and(|options| options.deprecated()),
        ));
    }

    fn enumeration(&mut self, enumeration: &EnumDescriptor) {
        let name = enumeration.full_name();
        self.facts.insert(format!("enum {name} in {}", enumeration.parent_file().name()));
        for value in enumeration.values() {
            self.facts.insert(format!("enum {name} value {} = {}", value.name(), value.number()));
        }
    }

    fn service(&mut self, service: &ServiceDescriptor) {
        self.facts.insert(format!("service {} in {}", service.full_name(), service.parent_file().name()));
        for method in service.methods() {
            self.facts.insert(format!(
                "method {} {} -> {} streams {} {} deprecated {} http {}",
                method.full_name(),
                method.input().full_name(),
                method.output().full_name(),
                method.is_client_streaming(),
                method.is_server_streaming(),
                method.method_descriptor_proto().options.as_ref().is_some_and(|options| options.deprecated()),
                self.http_rule(&method.options()),
            ));
        }
    }

    fn http_rule(&self, options: &DynamicMessage) -> String {
        if !options.has_extension(&self.http) {
            return "-".to_owned();
        }
        match options.get_extension(&self.http).as_ref() {
            Value::Message(rule) => serde_json::to_string(rule).expect("a rule is plain JSON"),
            other => panic!("the HTTP rule is {other:?}"),
        }
    }
}

fn in_scope(package: &str) -> bool {
    PACKAGES
        .iter()
        .any(|scope| package.strip_prefix(scope).is_some_and(|rest| rest.is_empty() || rest.starts_with('.')))
}

fn installed_descriptors(python: &str) -> Vec<u8> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dump_descriptors.py");
    let output = Command::new(python).arg(script).output().expect("cannot start the interpreter");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

#[test]
fn descriptors_equal_those_of_the_wheel() {
    let Ok(python) = std::env::var("PINION_TEST_PYTHON") else {
        println!("skipped: run by `cargo xtask test`");
        return;
    };
    let ours = DescriptorPool::decode(proto::DESCRIPTOR_SET).expect("our descriptors do not decode");
    let theirs = DescriptorPool::decode(installed_descriptors(&python).as_slice())
        .expect("the descriptors of the wheel do not decode");
    let (ours, theirs) = (Facts::of(&ours), Facts::of(&theirs));
    assert!(theirs.len() > 2_000, "the wheel says only {} things", theirs.len());

    let missing: Vec<_> = theirs.difference(&ours).map(|fact| format!("  wheel only: {fact}")).collect();
    let added: Vec<_> = ours.difference(&theirs).map(|fact| format!("  ours only:  {fact}")).collect();
    assert!(missing.is_empty() && added.is_empty(), "\n{}\n{}", missing.join("\n"), added.join("\n"));
}

#[test]
fn http_rules_survive_compilation() {
    let pool = DescriptorPool::decode(proto::DESCRIPTOR_SET).expect("our descriptors do not decode");
    let facts = Facts::of(&pool);
    let rule = r#"http {"get":"/api/v1/executions/{id.project}/{id.domain}/{id.name}"}"#;
    assert!(facts.iter().any(|fact| fact.contains("AdminService.GetExecution ") && fact.contains(rule)));
}

#[test]
fn every_kind_of_change_is_noticed() {
    fn facts(set: &FileDescriptorSet) -> BTreeSet<String> {
        Facts::of(&DescriptorPool::decode(set.encode_to_vec().as_slice()).expect("the set does not decode"))
    }
    fn literals(set: &mut FileDescriptorSet) -> &mut FileDescriptorProto {
        let file = set.file.iter_mut().find(|file| file.name() == "flyteidl/core/literals.proto");
        file.expect("no literals.proto")
    }
    let changes: [fn(&mut FileDescriptorSet); 7] = [
        |set| literals(set).message_type[0].field[0].number = Some(77),
        |set| literals(set).message_type[0].field[0].set_type(Type::Int32),
        |set| literals(set).message_type[0].field[0].json_name = Some("other".into()),
        |set| literals(set).message_type[2].field[1].set_label(Label::Repeated),
        |set| literals(set).message_type[0].oneof_decl[0].name = Some("other".into()),
        |set| {
            let file =
                set.file.iter_mut().find(|file| !file.enum_type.is_empty() && in_scope(file.package()));
            file.expect("no enum").enum_type[0].value[1].number = Some(77);
        },
        |set| {
            let file = set.file.iter_mut().find(|file| !file.service.is_empty());
            file.expect("no service").service[0].method[0].server_streaming = Some(true);
        },
    ];
    let set = FileDescriptorSet::decode(proto::DESCRIPTOR_SET).expect("our descriptors do not decode");
    let before = facts(&set);
    for (i, change) in changes.iter().enumerate() {
        let mut changed = set.clone();
        change(&mut changed);
        assert_ne!(facts(&changed), before, "change {i} went unnoticed");
    }
    // prost-types drops extension options, so the round trip above has lost every HTTP rule.
    let with_rules =
        Facts::of(&DescriptorPool::decode(proto::DESCRIPTOR_SET).expect("our descriptors do not decode"));
    assert_ne!(before, with_rules, "lost HTTP rules went unnoticed");
}
