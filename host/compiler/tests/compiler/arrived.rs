//! Compiles workflows whose every message has fields that nobody knows.

use std::borrow::Cow;

use compiler::{
    Arrived, LaunchPlanInterface, compile_dynamic, compile_task, compile_workflow, encode_compiled,
    requirements,
};
use model::raw::{self, Fields, Type, Value};
use prost::Message;
use prost_reflect::{DescriptorPool, Kind, MessageDescriptor};
use proto::flyteidl::{admin::WorkflowSpec, core::*};

use crate::golden::read;

/// The same message with one more field in it and in every message inside.
fn salted(ty: &MessageDescriptor, message: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut fields = Fields(message);
    let mut rest = message;
    while let Some(field) = fields.next() {
        let (number, value) = field.unwrap();
        let (whole, tail) = rest.split_at(rest.len() - fields.0.len());
        rest = tail;
        match (ty.get_field(number).map(|field| field.kind()), value) {
            (Some(Kind::Message(inner)), Value::Bytes(body)) => {
                raw::put(number, &salted(&inner, body), &mut out);
            }
            _ => out.extend_from_slice(whole),
        }
    }
    raw::put(901, b"salt", &mut out);
    out
}

fn salt(name: &str, message: &impl Message) -> Vec<u8> {
    let pool = DescriptorPool::decode(proto::DESCRIPTOR_SET).unwrap();
    salted(&pool.get_message_by_name(name).unwrap(), &message.encode_to_vec())
}

fn n_unknown(name: &str, message: &[u8]) -> usize {
    Type::named(name).unknown(message).len()
}

const TEMPLATE: &str = "flyteidl.core.WorkflowTemplate";
const TASK: &str = "flyteidl.core.CompiledTask";

const WORKFLOWS: [&[u8]; 9] = [
    include_bytes!("../golden/nested_values.bin"),
    include_bytes!("../golden/unions.bin"),
    include_bytes!("../golden/branch_of_everything.bin"),
    include_bytes!("../golden/cleaned_by_a_workflow.bin"),
    include_bytes!("../golden/plans.bin"),
    include_bytes!("../golden/maps_of_plans.bin"),
    include_bytes!("../golden/gated.bin"),
    include_bytes!("../golden/with_sub.bin"),
    include_bytes!("../golden/odds_and_ends.bin"),
];

/// What a workflow is compiled of.
struct Parts {
    template: WorkflowTemplate,
    subs: Vec<WorkflowTemplate>,
    tasks: Vec<CompiledTask>,
    plans: Vec<LaunchPlanInterface>,
}

fn parts(file: &[u8]) -> Parts {
    let (spec, registered): (WorkflowSpec, _) = read(file);
    let template = spec.template.unwrap();
    let needed = requirements(&template, &spec.sub_workflows).tasks;
    let is_needed = |task: &TaskTemplate| needed.contains(task.id.as_ref().unwrap());
    Parts {
        template,
        subs: spec.sub_workflows,
        tasks: registered.tasks.into_iter().filter(is_needed).map(compile_task).collect(),
        plans: registered.launch_plans,
    }
}

#[test]
fn what_nobody_knows_survives_compiling() {
    for file in WORKFLOWS {
        let Parts { template, subs, tasks, plans } = parts(file);
        let arrived = Arrived {
            template: salt(TEMPLATE, &template).into(),
            sub_workflows: subs.iter().map(|sub| salt(TEMPLATE, sub).into()).collect(),
            tasks: tasks.iter().map(|task| salt(TASK, task).into()).collect(),
        };
        let name = template.id.clone().unwrap().name;
        let compiled = compile_workflow(template, subs, &tasks, &plans).unwrap();
        let bytes = encode_compiled(&compiled, &arrived);
        assert_eq!(CompiledWorkflowClosure::decode(bytes.as_slice()).unwrap(), compiled, "{name}");
        let primary = raw::field(&bytes, 1);
        let found = n_unknown(TEMPLATE, &raw::field(&primary, 1));
        assert!(found > 10);
        assert_eq!(found, n_unknown(TEMPLATE, &arrived.template), "{name}");
        for sub in raw::fields(&bytes, 2) {
            let template = raw::field(sub, 1);
            let id = raw::field(&template, 1);
            let source = arrived.sub_workflows.iter().find(|sub| raw::field(sub, 1) == id).unwrap();
            assert_eq!(n_unknown(TEMPLATE, &template), n_unknown(TEMPLATE, source), "{name}");
        }
        for task in raw::fields(&bytes, 3) {
            assert!(arrived.tasks.iter().any(|source| **source == *task), "a task of {name} was touched");
        }
    }
}

#[test]
fn what_arrived_as_we_write_it_stays_so() {
    for file in WORKFLOWS {
        let Parts { template, subs, tasks, plans } = parts(file);
        let plain = |message: &WorkflowTemplate| Cow::Owned(message.encode_to_vec());
        let arrived = Arrived {
            template: plain(&template),
            sub_workflows: subs.iter().map(plain).collect(),
            tasks: tasks.iter().map(|task| task.encode_to_vec().into()).collect(),
        };
        let compiled = compile_workflow(template, subs, &tasks, &plans).unwrap();
        assert_eq!(encode_compiled(&compiled, &arrived), compiled.encode_to_vec());
        assert_eq!(encode_compiled(&compiled, &Arrived::default()), compiled.encode_to_vec());
    }
}

#[test]
fn a_dynamic_workflow_keeps_what_the_task_wrote() {
    let (spec, registered): (DynamicJobSpec, _) = read(include_bytes!("../golden/dynamic_nests.bin"));
    let bytes = salt("flyteidl.core.DynamicJobSpec", &spec);
    let arrived = Arrived::of_dynamic(&bytes);
    let workflow = Identifier { resource_type: 2, name: "w".to_owned(), ..Identifier::default() };
    let parent = &registered.tasks[0];
    let compiled = compile_dynamic(spec, workflow, parent, &[], &registered.launch_plans).unwrap();
    let encoded = encode_compiled(&compiled, &arrived);
    assert_eq!(CompiledWorkflowClosure::decode(encoded.as_slice()).unwrap(), compiled);
    let primary = raw::field(&encoded, 1);
    let found = n_unknown(TEMPLATE, &raw::field(&primary, 1));
    assert!(found > 10);
    assert_eq!(found, n_unknown(TEMPLATE, &arrived.template));
    for task in raw::fields(&encoded, 3) {
        let template = raw::field(task, 1);
        let source = arrived
            .tasks
            .iter()
            .find(|source| raw::field(&raw::field(source, 1), 1) == raw::field(&template, 1));
        assert_eq!(n_unknown(TASK, task), n_unknown(TASK, source.unwrap()));
    }
}
