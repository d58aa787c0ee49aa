//! Monitors of a project.

use reqwest::Method;
use serde_json::{Value, json};

use super::ProjectClient;
use crate::{
    Error, Verbatim,
    resource::{AlertRates, Monitor, MonitorAlert, MonitorChange, MonitorRun, NewMonitor, Page, PageRequest},
};

impl ProjectClient {
    /// Creates a monitor.
    pub async fn create_monitor(&self, new: &NewMonitor) -> Result<Verbatim<Monitor>, Error> {
        self.0.at(&["monitors"]).create("creating a monitor", new).await
    }

    /// Monitors, newest first.
    pub async fn list_monitors(&self, page: PageRequest) -> Result<Verbatim<Page<Verbatim<Monitor>>>, Error> {
        self.0.at(&["monitors"]).page(&[], page).await
    }

    /// The monitor with this id.
    pub async fn monitor(&self, id: &str) -> Result<Verbatim<Monitor>, Error> {
        self.0.at(&["monitors", id]).get(&[]).await
    }

    /// Changes a monitor.
    pub async fn update_monitor(&self, id: &str, change: &MonitorChange) -> Result<Verbatim<Monitor>, Error> {
        self.0.at(&["monitors", id]).patch(change).await
    }

    /// Deletes a monitor and its history. Its simulations stay.
    pub async fn delete_monitor(&self, id: &str) -> Result<(), Error> {
        let monitor = self.0.at(&["monitors", id]);
        let request = || monitor.request(Method::DELETE, &[]);
        monitor.retrying::<Value>("deleting a monitor", request).await.map(drop)
    }

    /// The alert of a monitor after its latest runs. With `rates`, what an alert with these rates would have done.
    pub async fn monitor_alert(
        &self,
        id: &str,
        rates: Option<&AlertRates>,
    ) -> Result<Verbatim<MonitorAlert>, Error> {
        let query = rates.map(|rates| {
            [
                ("expected_pass_rate", rates.expected_pass_rate.to_string()),
                ("low_pass_rate", rates.low_pass_rate.to_string()),
            ]
        });
        let query: Vec<_> = query.iter().flatten().map(|(name, value)| (*name, value.as_str())).collect();
        self.0.at(&["monitors", id, "alert"]).get(&query).await
    }

    /// Starts a run of a monitor now.
    pub async fn create_monitor_run(&self, id: &str) -> Result<Verbatim<MonitorRun>, Error> {
        self.0.at(&["monitors", id, "runs"]).create("starting a run", &json!({})).await
    }

    /// The runs of a monitor by planned time, last first.
    pub async fn list_monitor_runs(
        &self,
        id: &str,
        page: PageRequest,
    ) -> Result<Verbatim<Page<Verbatim<MonitorRun>>>, Error> {
        self.0.at(&["monitors", id, "runs"]).page(&[], page).await
    }
}
