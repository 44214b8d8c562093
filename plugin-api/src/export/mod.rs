//! Writes the three faces of a plugin library: abi_stable root module, C table, metadata section.

mod module;
mod table;
mod task;

pub use abi_stable::library::{__call_root_module_loader, CheckTypeLayout, LibHeader, RootModuleResult};
pub use plugin_abi::{FLAG_PANIC_ABORT, PluginModuleV1_Ref, c};

pub use crate::metadata::{Part, RUSTC, SDK, TARGET, length, render};
pub use crate::shim::Inline;
pub use module::root_module;
pub use table::c_table;

use crate::shim::Driver;

/// What `export_plugin!` knows about the plugin.
pub trait Entry: Sized + 'static {
    /// The plugin.
    type Plugin: crate::plugin::TaskPlugin;
    /// Where its futures run.
    type Driver: Driver;
    /// Name of the plugin.
    const ID: &'static str;
    /// The metadata as JSON.
    const METADATA: &'static [u8];
    /// Flags of the root module and the table.
    const FLAGS: u32;
}

/// Exports a plugin from a `cdylib` crate. Use it once, at the root of the crate.
///
/// ```ignore
/// plugin_api::export_plugin! {
///     plugin: plugin_api::Resource<Pod>,        // any `TaskPlugin`, or an adapter around another layer
///     id: "pod",
///     task_types: ["container", "python-task"],
///     default_for: ["container"],               // optional; all task types when left out
///     capabilities: ["inputs-inline"],          // optional
///     config_schema: include_str!("../schema.json"),
///     license: "Apache-2.0",                    // optional
///     isolation: "in-process",                  // optional; or "process"
///     own_runtime: true,                        // optional; needs feature `runtime` of plugin-api
/// }
/// ```
///
/// The version in the metadata is the version of the crate. `config_schema` is JSON text known at compile time.
///
/// Capabilities: `inputs-inline` has the host send small inputs along with each call. `describes-only` says that `handle`
/// does nothing outside by itself and answers the same again, so that the host may ask it before it has committed that
/// the attempt began, which saves a commit; never claim it for a plugin that submits something. A `ResourcePlugin` has
/// it by itself.
#[macro_export]
macro_rules! export_plugin {
    (
        plugin: $plugin:ty,
        id: $id:expr,
        task_types: [$($task_type:expr),* $(,)?],
        $(default_for: [$($default_for:expr),* $(,)?],)?
        $(capabilities: [$($capability:expr),* $(,)?],)?
        config_schema: $schema:expr
        $(, license: $license:expr)?
        $(, isolation: $isolation:expr)?
        $(, own_runtime: $own_runtime:tt)?
        $(,)?
    ) => {
        const _: () = {
            use $crate::export::Part;

            struct Exported;

            const PANIC_ABORT: bool = cfg!(panic = "abort");
            const OPTIONAL_LICENSE: &[&str] = &[$($license)?];
            const OPTIONAL_ISOLATION: &[&str] = &[$($isolation)?];
            const PARTS: &[Part<'static>] = &[
                Part::Raw("{\"id\":"), Part::Text($id),
                Part::Raw(",\"version\":"), Part::Text(env!("CARGO_PKG_VERSION")),
                Part::Raw(",\"abi\":[{\"kind\":\"abi_stable\",\"major\":1},{\"kind\":\"c\",\"major\":1}]"),
                Part::Raw(",\"sdk\":"), Part::Text($crate::export::SDK),
                Part::Raw(",\"rustc\":"), Part::Text($crate::export::RUSTC),
                Part::Raw(",\"target\":"), Part::Text($crate::export::TARGET),
                Part::Raw(",\"panic\":"), Part::Text(if PANIC_ABORT { "abort" } else { "unwind" }),
                Part::Raw(",\"task_types\":"), Part::List(&[$($task_type),*]),
                Part::Raw(",\"default_for\":"), Part::List(&[$($($default_for),*)?]),
                Part::Raw(",\"capabilities\":"), Part::List(&[$($($capability),*)?]),
                Part::Raw(",\"license\":"),
                Part::Text(if OPTIONAL_LICENSE.is_empty() { "" } else { OPTIONAL_LICENSE[0] }),
                Part::Raw(",\"isolation\":"),
                Part::Text(if OPTIONAL_ISOLATION.is_empty() { "in-process" } else { OPTIONAL_ISOLATION[0] }),
                Part::Raw(",\"own_runtime\":"), Part::Flag($crate::export_plugin!(@flag $($own_runtime)?)),
                Part::Raw(",\"config_schema\":"), Part::Raw($schema),
                Part::Raw("}"),
            ];
            const LENGTH: usize = $crate::export::length(PARTS);

            #[used]
            #[unsafe(link_section = ".pinion_plugin")]
            static METADATA: [u8; LENGTH] = $crate::export::render(PARTS);

            impl $crate::export::Entry for Exported {
                type Plugin = $plugin;
                type Driver = $crate::export_plugin!(@driver $($own_runtime)?);
                const ID: &'static str = $id;
                const METADATA: &'static [u8] = &METADATA;
                const FLAGS: u32 = PANIC_ABORT as u32;
            }

            #[unsafe(no_mangle)]
            pub static pinion_plugin_v1: $crate::export::c::Plugin = $crate::export::c_table::<Exported>();

            extern "C" fn load() -> $crate::export::RootModuleResult {
                $crate::export::__call_root_module_loader($crate::export::root_module::<Exported>)
            }

            // The name is the one that abi_stable looks for.
            #[unsafe(no_mangle)]
            pub static _1as_0lib_1header_0root_bmodule_bloader: $crate::export::LibHeader = unsafe {
                $crate::export::LibHeader::from_constructor::<$crate::export::PluginModuleV1_Ref>(
                    load,
                    $crate::export::CheckTypeLayout::Yes,
                )
            };
        };
    };
    (@flag true) => { true };
    (@flag $(false)?) => { false };
    (@driver true) => { $crate::runtime::Spawned };
    (@driver $(false)?) => { $crate::export::Inline };
}
