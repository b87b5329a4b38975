//! The cluster as a whole: its events, its state, its artifacts.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::id::{DeploymentId, InstanceId};
use crate::name::{ServiceName, WorkerName};
use crate::time::Wall;

/// One line of `GET /v1/events`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EventView {
    /// Grows by one an event, without gaps.
    pub seq: u64,
    /// When.
    pub at: Wall,
    /// What, as `instance_running`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The service it concerns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceName>,
    /// The revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<u64>,
    /// The deployment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployment: Option<DeploymentId>,
    /// The instance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<InstanceId>,
    /// The worker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<WorkerName>,
    /// The event that led to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<u64>,
    /// In a sentence.
    pub message: String,
}

/// `GET /v1/status`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StatusView {
    /// The controller's version.
    pub version: String,
    /// The cluster's id, made with its database.
    pub cluster: String,
    /// When this process started.
    pub started_at: Wall,
    /// Since then.
    pub uptime_s: u64,
    /// Services by state.
    pub services: BTreeMap<String, u32>,
    /// Instances by state.
    pub instances: BTreeMap<String, u32>,
    /// Workers by state.
    pub workers: BTreeMap<String, u32>,
    /// The newest event.
    pub last_event: u64,
    /// The data folder's size.
    pub data_bytes: u64,
    /// Whether writes are taken; where not, why.
    pub storage: String,
}

/// `PUT /v1/artifacts`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArtifactView {
    /// `sha256:…`, to be named in `source`.
    pub artifact: String,
    /// The same; the name users of other registries look for.
    pub digest: String,
    /// Its size.
    pub bytes: u64,
}
