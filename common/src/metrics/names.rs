//! Every metric of the system, once: name, kind, meaning.
//!
//! Prometheus' rules: base units, `_total` for counters, `_ratio` from 0 to 1, no label whose
//! values a client can choose (never a path or a request id). Labels are written where the values
//! are.

use super::{Kind, Metric};

macro_rules! metrics {
    ($($constant:ident = $kind:ident $name:literal $help:literal;)*) => {
        $(
            #[doc = $help]
            pub const $constant: Metric = Metric { name: $name, kind: Kind::$kind, help: $help };
        )*

        /// All of them, in the order of this file.
        pub const ALL: &[Metric] = &[$($constant),*];
    };
}

metrics! {
    // --- The balancer, by service ----------------------------------------------------------------
    HTTP_REQUESTS = Counter "tucano_http_requests_total"
        "Requests that the balancer answered, by service, revision, method and status code.";
    HTTP_REQUEST_DURATION = Histogram "tucano_http_request_duration_seconds"
        "From a request's head to the end of its answer, by service and revision.";
    HTTP_ACCEPTED = Counter "tucano_http_accepted_total"
        "Requests that the balancer took, by service; each ends in one counted cause.";
    HTTP_ENDED = Counter "tucano_http_ended_total"
        "Requests that ended, by service and cause; accepted is ended and in flight together.";
    HTTP_IN_FLIGHT = Gauge "tucano_http_in_flight_requests"
        "Requests taken and not ended, by service.";
    HTTP_HELD = Gauge "tucano_http_held_requests"
        "Requests that wait for an instance on its way, by service.";
    HTTP_RETRIES = Counter "tucano_http_retries_total"
        "Requests sent to another instance, by service and reason.";
    HTTP_POISON = Counter "tucano_http_poison_total"
        "Requests given up after instances died of them, by service.";
    HTTP_EJECTED = Gauge "tucano_http_ejected_instances"
        "Instances out of the rotation for their errors, by service.";
    HTTP_CONNECTIONS = Gauge "tucano_http_connections"
        "Open connections of the balancer, by side (client, upstream).";
    HTTP_RECEIVED = Counter "tucano_http_received_bytes_total"
        "Bytes that the balancer read from clients.";
    HTTP_SENT = Counter "tucano_http_sent_bytes_total"
        "Bytes that the balancer wrote to clients.";
    ACCESS_LOG_LINES = Counter "tucano_access_log_lines_total"
        "Lines written to the access log.";
    ACCESS_LOG_DROPPED = Counter "tucano_access_log_dropped_total"
        "Lines of the access log that were lost, by reason (behind, failed).";

    // --- Services and instances ------------------------------------------------------------------
    SERVICES = Gauge "tucano_services"
        "Services, by state.";
    INSTANCES = Gauge "tucano_instances"
        "Instances that have not ended, by service and state.";
    INSTANCE_RESTARTS = Counter "tucano_instance_restarts_total"
        "Starts in place after the first, by service, of the instances that have not ended.";
    INSTANCE_CPU = Gauge "tucano_instance_cpu_cores"
        "CPU that an instance uses, in cores, by service and instance.";
    INSTANCE_MEMORY = Gauge "tucano_instance_memory_bytes"
        "Memory that an instance uses, by service and instance.";
    DEPLOYS = Counter "tucano_deploys_total"
        "Deployments that ended, by result.";

    // --- Workers ---------------------------------------------------------------------------------
    WORKERS = Gauge "tucano_workers"
        "Workers, by state.";
    WORKER_CPU = Gauge "tucano_worker_cpu_ratio"
        "Busy share of all CPUs of a worker, by worker.";
    WORKER_MEMORY_USED = Gauge "tucano_worker_memory_used_bytes"
        "Memory of a worker that is not available, by worker.";
    WORKER_MEMORY_TOTAL = Gauge "tucano_worker_memory_total_bytes"
        "All memory of a worker, by worker.";
    WORKER_LOAD = Gauge "tucano_worker_load1"
        "Load average of a worker over a minute, by worker.";
    WORKER_DISK_FREE = Gauge "tucano_worker_disk_free_bytes"
        "Free bytes of the file system of a worker's data folder, by worker.";
    WORKER_PRESSURE = Gauge "tucano_worker_pressure_ratio"
        "Share of the last 10 s in which some task waited, by worker and resource.";
    WORKER_HEARTBEAT_AGE = Gauge "tucano_worker_heartbeat_age_seconds"
        "Since a worker's last heartbeat, by worker.";

    // --- The controller --------------------------------------------------------------------------
    EVENTS = Counter "tucano_events_total"
        "Events since the cluster's beginning.";
    DB_SIZE = Gauge "tucano_db_size_bytes"
        "Bytes of the data folder.";
    DB_COMMITS = Counter "tucano_db_commits_total"
        "Transactions of the database.";
    DB_COMMIT_FAILURES = Counter "tucano_db_commit_failures_total"
        "Transactions of the database that failed.";
    DB_COMMIT_TIME = Counter "tucano_db_commit_seconds_total"
        "Time spent in transactions of the database.";
    SNAPSHOT_NEWEST = Gauge "tucano_snapshot_newest_timestamp_seconds"
        "When the newest snapshot was taken, in seconds since 1970; 0 where there is none.";
    SNAPSHOT_FAILURES = Counter "tucano_snapshot_failures_total"
        "Snapshots that could not be taken since the start.";
    API_REQUESTS = Counter "tucano_api_requests_total"
        "Requests that the API answered, by class of status code.";
    API_REQUEST_DURATION = Histogram "tucano_api_request_duration_seconds"
        "From a request of the API to its answer; those that asked to wait are left out.";
    API_AUTH_FAILURES = Counter "tucano_api_auth_failures_total"
        "Requests of the API with a wrong token.";
    API_IN_FLIGHT = Gauge "tucano_api_in_flight_requests"
        "Requests of the API that are not answered yet, those that follow or wait included.";

    // --- The agent -------------------------------------------------------------------------------
    AGENT_HEARTBEATS = Counter "tucano_agent_heartbeats_total"
        "Heartbeats that the agent sent, by result.";
    AGENT_GENERATION = Gauge "tucano_agent_generation"
        "The generation of the assignments that the agent holds.";

    // --- Every process (the names that Prometheus' own clients use) ------------------------------
    BUILD_INFO = Gauge "tucano_build_info"
        "1, with the version as a label.";
    PROCESS_CPU = Counter "process_cpu_seconds_total"
        "CPU time of this process, user and system.";
    PROCESS_MEMORY = Gauge "process_resident_memory_bytes"
        "Resident memory of this process.";
    PROCESS_VIRTUAL_MEMORY = Gauge "process_virtual_memory_bytes"
        "Virtual memory of this process.";
    PROCESS_OPEN_FDS = Gauge "process_open_fds"
        "Open file descriptors of this process.";
    PROCESS_MAX_FDS = Gauge "process_max_fds"
        "Most file descriptors that this process may open.";
    PROCESS_START_TIME = Gauge "process_start_time_seconds"
        "When this process started, in seconds since 1970.";
    PROCESS_THREADS = Gauge "process_threads"
        "Threads of this process.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_keep_prometheus_rules() {
        for metric in ALL {
            let name = metric.name;
            let plain = name.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_'));
            assert!(plain, "{name}");
            assert!(name.starts_with("tucano_") || name.starts_with("process_"), "{name}");
            assert_eq!(metric.kind == Kind::Counter, name.ends_with("_total"), "{name}");
            for foreign_unit in ["_ms", "_us", "_milliseconds", "_kib", "_mib", "_percent"] {
                assert!(!name.ends_with(foreign_unit), "{name}");
            }
            assert!(metric.help.ends_with('.') && !metric.help.contains('\n'), "{name}");
        }
    }

    #[test]
    fn a_name_is_given_once() {
        let mut names: Vec<&str> = ALL.iter().map(|metric| metric.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ALL.len());
    }
}
