//! Reads the server's `/metrics` page.

use std::collections::HashMap;

use ::tests::Server;
use anyhow::{Result, ensure};

/// Commits of any kind: histogram.
pub const STORE_COMMITS: &str = "pinion_store_commit_seconds";
/// Rows written: counter by table.
pub const STORE_ROWS: &str = "pinion_store_rows_total";
/// Changes of nodes and attempts: counter.
pub const TRANSITIONS: &str = "pinion_worker_transitions_total";
/// Creation of an execution to its first plugin call: histogram.
pub const FIRST_CALL: &str = "pinion_worker_first_call_seconds";
/// End of a node to the first call for the next: histogram.
pub const NODE_GAP: &str = "pinion_worker_node_gap_seconds";
/// Plugin calls: histogram by plugin.
pub const PLUGIN_CALLS: &str = "plugin_call_seconds";

/// The page at one moment. Series of a name are added up, whatever their labels.
pub struct Page(HashMap<String, f64>);

impl Page {
    /// Reads it.
    pub fn scrape(server: &Server) -> Self {
        Self::parse(&server.http("/metrics"))
    }

    /// An error when the server does not know a histogram, which would be measured as nothing.
    pub fn require(&self, name: &str) -> Result<()> {
        ensure!(self.0.contains_key(&format!("{name}_count")), "the server has no metric {name}");
        Ok(())
    }

    fn parse(text: &str) -> Self {
        let mut series: HashMap<String, f64> = HashMap::new();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let Some((name, value)) = line.rsplit_once(' ') else { continue };
            let Ok(value) = value.trim().parse::<f64>() else { continue };
            // Quantiles of a summary don't add up.
            if !name.contains("quantile=") {
                let name = name.split('{').next().unwrap_or(name);
                *series.entry(name.to_owned()).or_default() += value;
            }
        }
        Self(series)
    }

    /// A counter or gauge.
    pub fn value(&self, name: &str) -> f64 {
        self.0.get(name).copied().unwrap_or(0.0)
    }

    /// How many values a histogram took.
    pub fn count(&self, name: &str) -> f64 {
        self.value(&format!("{name}_count"))
    }

    /// The sum of a histogram's values.
    pub fn sum(&self, name: &str) -> f64 {
        self.value(&format!("{name}_sum"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_of_a_name_add_up() {
        let page = Page::parse(
            "# TYPE a counter\na{table=\"x y\"} 2\na{table=\"z\"} 3\nh{quantile=\"0.5\"} 7\nh_sum 1.5\nh_count 2\n",
        );
        assert!((page.value("a") - 5.0).abs() < 1e-9);
        assert!((page.sum("h") - 1.5).abs() < 1e-9 && (page.count("h") - 2.0).abs() < 1e-9);
        assert!(page.value("h").abs() < 1e-9);
    }
}
