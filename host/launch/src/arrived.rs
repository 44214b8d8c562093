//! Keeps what a caller sent and what a launch plan says as the bytes that arrived, for specs and inputs that are stored.

use std::collections::BTreeMap;

use model::raw::{self, Type};
use proto::flyteidl::{admin::ExecutionSpec, core::LiteralMap};

/// Field numbers.
mod number {
    /// Of `admin.ExecutionCreateRequest`.
    pub(super) const SPEC: u32 = 4;
    pub(super) const INPUTS: u32 = 5;
    /// Of `admin.ExecutionSpec`.
    pub(super) const SPEC_INPUTS: u32 = 2;
    /// Of `admin.LaunchPlanSpec`.
    pub(super) const FIXED_INPUTS: u32 = 4;
    /// Of `admin.LaunchPlanClosure`.
    pub(super) const EXPECTED_INPUTS: u32 = 2;
    /// Of `core.ParameterMap`.
    pub(super) const PARAMETERS: u32 = 1;
    /// Of `core.Parameter`.
    pub(super) const DEFAULT: u32 = 2;
    /// Of `core.LiteralMap`, and of the entries of maps.
    pub(super) const LITERALS: u32 = 1;
    pub(super) const KEY: u32 = 1;
    pub(super) const VALUE: u32 = 2;
}

/// The bytes of a request's parts. Empty for what this host made itself; that is encoded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Arrived {
    /// `admin.ExecutionSpec`.
    pub spec: Vec<u8>,
    /// `core.LiteralMap`.
    pub inputs: Vec<u8>,
}

impl Arrived {
    /// The parts of an encoded `admin.ExecutionCreateRequest`.
    pub(crate) fn of_request(request: &[u8]) -> Self {
        let spec = raw::field(request, number::SPEC).into_owned();
        let inputs = match raw::field(request, number::INPUTS) {
            inputs if inputs.is_empty() => raw::field(&spec, number::SPEC_INPUTS),
            inputs => inputs,
        };
        Self { inputs: inputs.into_owned(), spec }
    }

    /// The spec as it is stored.
    pub(crate) fn spec(&self, resolved: &ExecutionSpec) -> Vec<u8> {
        Type::named("flyteidl.admin.ExecutionSpec").keep(&self.spec, resolved)
    }

    /// The caller's own inputs as they are stored.
    pub(crate) fn given(&self, given: &LiteralMap) -> Vec<u8> {
        Type::named("flyteidl.core.LiteralMap").keep(&self.inputs, given)
    }

    /// The complete inputs as they are stored: each literal as its source has it.
    pub(crate) fn complete(&self, given: &LiteralMap, complete: &LiteralMap, plan: &PlanBytes) -> Vec<u8> {
        let mut sources = Vec::new();
        let is_default = |name: &str| !given.literals.contains_key(name);
        for (name, literal) in plan.defaults.iter().filter(|(name, _)| is_default(name)) {
            let mut entry = Vec::with_capacity(name.len() + literal.len() + 16);
            raw::put(number::KEY, name.as_bytes(), &mut entry);
            raw::put(number::VALUE, literal, &mut entry);
            raw::put(number::LITERALS, &entry, &mut sources);
        }
        sources.extend_from_slice(&self.inputs);
        sources.extend_from_slice(&plan.fixed);
        Type::named("flyteidl.core.LiteralMap").keep(&sources, complete)
    }
}

/// The literals of a launch plan as it was registered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PlanBytes {
    /// `core.LiteralMap`.
    fixed: Vec<u8>,
    /// `core.Literal` each.
    defaults: BTreeMap<String, Vec<u8>>,
}

impl PlanBytes {
    /// The literals in an encoded `admin.LaunchPlanSpec` and `admin.LaunchPlanClosure`.
    pub(crate) fn new(spec: &[u8], closure: &[u8]) -> Self {
        let expected = raw::field(closure, number::EXPECTED_INPUTS);
        let default = |entry: &[u8]| {
            let name = String::from_utf8(raw::field(entry, number::KEY).into_owned()).ok()?;
            let parameter = raw::field(entry, number::VALUE);
            let literal = raw::fields(&parameter, number::DEFAULT).last()?.to_vec();
            Some((name, literal))
        };
        Self {
            fixed: raw::field(spec, number::FIXED_INPUTS).into_owned(),
            defaults: raw::fields(&expected, number::PARAMETERS).filter_map(default).collect(),
        }
    }

    /// How many bytes they are.
    pub(crate) fn len(&self) -> usize {
        self.fixed.len() + self.defaults.values().map(Vec::len).sum::<usize>()
    }
}
