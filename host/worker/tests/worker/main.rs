//! Checks the worker over a real database and real files, with plugins, a cluster and a clock of the tests' own.

mod aborts;
mod clock;
mod cluster;
mod crashes;
mod faults;
mod flow;
mod objects;
mod outputs;
mod ownership;
mod plugins;
mod running;
mod world;
