//! Draws a workflow of all kinds of nodes and how the world around it behaves.

use engine::Settings;

use crate::rng::Rng;

/// How wild a history is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chaos {
    /// Timeouts, aborts, lost answers, crashes.
    Everything,
    /// Answers depend on node and attempt alone: no timeouts, no aborts. Delays and crashes still vary.
    Deterministic,
}

/// A workflow: of the execution, of a sub-workflow node, or made by a dynamic task.
#[derive(Clone, Debug)]
pub struct Flow {
    pub name: String,
    /// The nodes, each after those it depends on.
    pub nodes: Vec<Spec>,
    pub failure_node: Option<Box<Spec>>,
    pub continue_on_failure: bool,
}

/// A node to run.
#[derive(Clone, Debug)]
pub struct Spec {
    pub id: String,
    /// Nodes of the flow before it that it depends on.
    pub upstream: Vec<usize>,
    pub retries: u32,
    /// In microseconds; 0 = none.
    pub timeout: i64,
    pub what: What,
}

/// What a node does.
#[derive(Clone, Debug)]
pub enum What {
    Task {
        kind: TaskKind,
    },
    Dynamic(Flow),
    Sub(Flow),
    LaunchPlan,
    /// Runs one of the arms, or fails if none is chosen and the last is no default.
    Branch {
        arms: Vec<Spec>,
        has_default: bool,
    },
    Array(Array),
    Sleep {
        micros: i64,
    },
    Signal,
    Approve,
}

#[derive(Clone, Debug)]
pub struct Array {
    pub element: Box<Spec>,
    pub max_size: u32,
    pub parallelism: Option<u32>,
    pub min_successes: Option<u32>,
    pub ratio: Option<f32>,
    pub run_all: bool,
}

/// How a task gets its inputs as an element, and whether it is cached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskKind {
    Container,
    Plain,
    Cached,
}

/// A workflow, its settings and its world.
#[derive(Clone, Debug)]
pub struct Scenario {
    pub seed: u64,
    /// Changes how attempts end and nothing else.
    pub salt: u64,
    pub chaos: Chaos,
    pub flow: Flow,
    pub settings: Settings,
    /// Percent of attempts that fail, of failures by the system's fault, of failures that are final.
    pub failing: u64,
    pub by_system: u64,
    pub permanent: u64,
    /// Percent of attempts that never end by themselves; only of those with a timeout.
    pub hanging: u64,
    /// Percent of commits around which the host crashes.
    pub crashing: u64,
    /// Percent of answers that never arrive.
    pub losing: u64,
    /// Percent of rounds after which an old observation is repeated.
    pub repeating: u64,
    /// Longest delay of an answer.
    pub delay: u64,
    /// When an abort is asked for, and whether it is forced.
    pub abort_at: Option<(i64, bool)>,
    /// When another is asked for, forced.
    pub force_at: Option<i64>,
}

impl Scenario {
    /// A limit on nodes that none reaches.
    pub const MANY: u32 = 2_000_000;

    pub fn random(seed: u64, chaos: Chaos) -> Self {
        let n_nodes = match Rng::of(&[seed, 5]).below(100) {
            0..60 => 8,
            60..95 => 20,
            _ => 50,
        };
        Self::sized(seed, chaos, n_nodes)
    }

    /// A scenario of at most about this many nodes, elements not counted.
    pub fn sized(seed: u64, chaos: Chaos, n_nodes: u64) -> Self {
        let rng = &mut Rng::new(seed);
        let wild = chaos == Chaos::Everything;
        let timeouts = wild && rng.chance(30);
        let n_names = if rng.chance(30) { "a-node-with-a-name-over-20-" } else { "n" };
        let mut draw = Draw {
            density: *rng.pick(&[0, 1, 1, 2, 3]),
            continuing: *rng.pick(&[0, 50, 100]),
            plain: *rng.pick(&[20, 50, 90]),
            timeouts,
            left: 1 + rng.below(n_nodes),
            n_flows: 0,
            prefix: n_names,
            rng: rng.clone(),
        };
        let flow = draw.flow(0, true);
        *rng = draw.rng;
        Self {
            seed,
            salt: 0,
            chaos,
            flow,
            settings: Settings {
                max_parallelism: *rng.pick(&[0, 0, 1, 2, 3, 5]),
                interruptible: rng.chance(50),
                default_max_attempts: 1 + rng.below(2) as u32,
                ignore_retry_cause: rng.chance(10),
                array_parallelism: *rng.pick(&[
                    engine::ArrayParallelism::Unlimited,
                    engine::ArrayParallelism::Workflow,
                    engine::ArrayParallelism::Hybrid,
                ]),
                max_elements_in_flight: *rng.pick(&[1, 3, 5_000]),
                max_nodes: if wild { *rng.pick(&[Self::MANY, Self::MANY, 15]) } else { Self::MANY },
                recovered_at_once: *rng.pick(&[1, 3, 5_000]),
                inputs_uri: "the-inputs".into(),
                ..Settings::default()
            },
            failing: *rng.pick(&[0, 5, 10, 30, 60]),
            by_system: *rng.pick(&[0, 30, 50, 100]),
            permanent: *rng.pick(&[0, 10, 50]),
            hanging: if timeouts { *rng.pick(&[0, 20]) } else { 0 },
            crashing: *rng.pick(&[0, 0, 2, 10]),
            losing: if wild { *rng.pick(&[0, 0, 0, 3]) } else { 0 },
            repeating: *rng.pick(&[0, 10, 30]),
            delay: *rng.pick(&[1, 10, 100]),
            abort_at: (wild && rng.chance(25)).then(|| (rng.below(600) as i64, rng.chance(30))),
            force_at: (wild && rng.chance(5)).then(|| rng.below(800) as i64),
        }
    }

    /// All attempts that failures by the user's fault may take.
    pub fn max_attempts(&self, spec: &Spec) -> u32 {
        match spec.retries {
            0 => self.settings.default_max_attempts,
            retries => retries + 1,
        }
    }
}

impl Flow {
    pub fn has_timeouts(&self) -> bool {
        self.nodes.iter().chain(self.failure_node.as_deref()).any(Spec::has_timeouts)
    }

    /// All flows in it, itself first.
    pub fn flows(&self) -> Vec<&Flow> {
        let mut found = vec![self];
        let mut left: Vec<&Spec> = self.nodes.iter().chain(self.failure_node.as_deref()).collect();
        while let Some(spec) = left.pop() {
            let inner = match &spec.what {
                What::Sub(flow) | What::Dynamic(flow) => {
                    found.push(flow);
                    left.extend(flow.failure_node.as_deref());
                    flow.nodes.as_slice()
                }
                What::Branch { arms, .. } => arms.as_slice(),
                What::Array(array) => std::slice::from_ref(&*array.element),
                _ => &[],
            };
            left.extend(inner);
        }
        found
    }
}

impl Spec {
    /// Whether a deadline may pass in it or in what it holds.
    pub fn has_timeouts(&self) -> bool {
        self.timeout > 0
            || match &self.what {
                What::Sub(flow) | What::Dynamic(flow) => flow.has_timeouts(),
                What::Branch { arms, .. } => arms.iter().any(Spec::has_timeouts),
                What::Array(array) => array.element.has_timeouts(),
                _ => false,
            }
    }
}

struct Draw {
    rng: Rng,
    density: u64,
    continuing: u64,
    /// Percent of nodes that are tasks.
    plain: u64,
    timeouts: bool,
    left: u64,
    n_flows: u64,
    prefix: &'static str,
}

impl Draw {
    /// A workflow; one that a task makes has no failure node.
    fn flow(&mut self, depth: u64, may_handle: bool) -> Flow {
        self.n_flows += 1;
        let name = format!("flow{}", self.n_flows);
        let most = if depth == 0 { self.left } else { self.left.min(4) };
        let n_nodes = if depth == 0 { most.max(1) } else { self.rng.below(most + 1) };
        let mut nodes = Vec::new();
        for position in 0..n_nodes as usize {
            if self.left == 0 && position > 0 {
                break;
            }
            let id = format!("{}{position}", self.prefix);
            let n_upstream = if position == 0 { 0 } else { self.rng.below(self.density + 1) };
            let mut upstream: Vec<_> =
                (0..n_upstream).map(|_| self.rng.below(position as u64) as usize).collect();
            upstream.sort_unstable();
            upstream.dedup();
            nodes.push(Spec { upstream, ..self.node(id, depth, true) });
        }
        let handles = may_handle && self.rng.chance(25);
        let failure_node = handles.then(|| Box::new(self.node("efn".to_owned(), depth, true)));
        let continue_on_failure = self.rng.chance(self.continuing);
        Flow { name, nodes, failure_node, continue_on_failure }
    }

    /// A node; inside an array it is no branch.
    fn node(&mut self, id: String, depth: u64, may_branch: bool) -> Spec {
        self.left = self.left.saturating_sub(1);
        let is_plain = depth >= 4 || self.left == 0 || self.rng.chance(self.plain);
        let what = match if is_plain { 0 } else { self.rng.below(20) } {
            0 => self.leaf(),
            1..4 => What::Dynamic(self.flow(depth + 1, false)),
            4..8 => What::Sub(self.flow(depth + 1, true)),
            8..10 => What::LaunchPlan,
            10..13 if may_branch => {
                let n_arms = 1 + self.rng.below(3);
                let arm = |this: &mut Self, arm| this.node(format!("{id}-a{arm}"), depth + 1, true);
                let arms = (0..n_arms).map(|i| arm(self, i)).collect();
                What::Branch { arms, has_default: self.rng.chance(80) }
            }
            10..17 => What::Array(self.array(&id, depth)),
            17 => What::Sleep { micros: self.rng.below(60) as i64 },
            18 => What::Signal,
            _ => What::Approve,
        };
        Spec {
            id,
            upstream: Vec::new(),
            retries: *self.rng.pick(&[0, 0, 1, 2, 4]),
            timeout: if self.timeouts && self.rng.chance(30) { 1 + self.rng.below(400) as i64 } else { 0 },
            what,
        }
    }

    fn leaf(&mut self) -> What {
        What::Task { kind: *self.rng.pick(&[TaskKind::Container, TaskKind::Plain, TaskKind::Cached]) }
    }

    fn array(&mut self, id: &str, depth: u64) -> Array {
        let element = if self.rng.chance(50) {
            Spec { what: self.leaf(), ..self.node(format!("{id}-of"), 9, false) }
        } else {
            self.node(format!("{id}-of"), depth + 1, false)
        };
        let criterion = self.rng.below(5);
        Array {
            element: Box::new(element),
            max_size: *self.rng.pick(&[3, 3, 7]),
            parallelism: *self.rng.pick(&[None, None, Some(0), Some(1), Some(2)]),
            min_successes: (criterion == 0).then(|| self.rng.below(5) as u32),
            ratio: (criterion == 1).then(|| *self.rng.pick(&[0.0, 0.3, 0.6, 1.0])),
            run_all: self.rng.chance(20),
        }
    }
}
