//! Opens models, counts what their calls consume, and holds simulations to their limits.

use std::sync::Arc;

use jiff::tz::TimeZone;
use onerun_domain::{ModelName, ModelUsage, Purpose, Simulation};
use onerun_store::{ProjectStore, SimulationView, StoreError, UsageKey};

use crate::{Engine, Meter, Model, ModelError, error::ignore_refusal, simulations::with_stop_job};

impl Engine {
    /// Opens the model of a simulation. A simulation that has reached one of its limits fails here, before the
    /// next call, so it exceeds a limit by the calls in flight at most.
    pub(crate) async fn open_model<E>(
        &self,
        project: &dyn ProjectStore,
        simulation: &Simulation,
        purpose: Purpose,
    ) -> Result<Arc<dyn Model>, E>
    where
        E: From<ModelError> + From<StoreError>,
    {
        self.open_named_model(project, simulation, simulation.options.models.name(purpose)).await
    }

    /// [`open_model`](Self::open_model) for a model that the simulation itself does not use.
    pub(crate) async fn open_named_model<E>(
        &self,
        project: &dyn ProjectStore,
        simulation: &Simulation,
        name: &ModelName,
    ) -> Result<Arc<dyn Model>, E>
    where
        E: From<ModelError> + From<StoreError>,
    {
        if self.is_at_limit(project, simulation).await? {
            return Err(ModelError::LimitReached.into());
        }
        Ok(self.models.open(name)?)
    }

    /// Stores what was consumed. A failure is only logged: the answer has been paid for.
    pub(crate) async fn count_usage(
        &self,
        project: &dyn ProjectStore,
        simulation: &Simulation,
        purpose: Purpose,
        meter: &Meter,
    ) {
        let name = simulation.options.models.name(purpose);
        self.count_usage_of(project, simulation, purpose, name, meter).await;
    }

    /// [`count_usage`](Self::count_usage) of a model that the simulation itself does not use.
    pub(crate) async fn count_usage_of(
        &self,
        project: &dyn ProjectStore,
        simulation: &Simulation,
        purpose: Purpose,
        name: &ModelName,
        meter: &Meter,
    ) {
        let usage = meter.usage();
        if usage.calls == 0 {
            return;
        }
        let key = UsageKey {
            simulation: simulation.id.clone(),
            created_by: simulation.options.created_by.clone(),
            day: self.now().to_zoned(TimeZone::UTC).date(),
            purpose,
            model: name.clone(),
        };
        if let Err(error) = project.add_usage(key, usage).await {
            tracing::error!(
                simulation = %simulation.id, %error, ?usage,
                "the usage of a model was not stored; the simulation's usage is too low by it"
            );
        }
    }

    /// Whether a simulation has reached a limit. If so, it has failed.
    async fn is_at_limit(
        &self,
        project: &dyn ProjectStore,
        simulation: &Simulation,
    ) -> Result<bool, StoreError> {
        let options = &simulation.options;
        if options.max_cost.is_none() && options.max_tokens.is_none() {
            return Ok(false);
        }
        let rows = project.usage_of_simulation(&simulation.id).await?;
        let usage: ModelUsage = rows.into_iter().map(|row| row.usage).sum();
        let reason = if let Some(max) = options.max_cost.filter(|max| usage.cost >= *max) {
            format!("models have cost {}, and `max_cost_usd` is {max}", usage.cost)
        } else if let Some(max) = options.max_tokens.filter(|max| usage.tokens.total() >= *max) {
            format!("models have used {} tokens, and `max_tokens` is {max}", usage.tokens.total())
        } else {
            return Ok(false);
        };
        let now = self.now();
        let decide = Box::new(move |view: SimulationView| {
            Ok(with_stop_job(view.simulation.fail(reason.clone(), now)?))
        });
        ignore_refusal(project.change_simulation(&simulation.id, decide).await)?;
        Ok(true)
    }
}
