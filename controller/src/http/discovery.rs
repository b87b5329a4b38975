//! `/v1/discovery`: where services are, for programs that want to ask them without the balancer.

use std::collections::BTreeMap;

use serde::Serialize;
use tucano_common::id::InstanceId;
use tucano_common::name::{ServiceName, WorkerName};
use tucano_net::Response;

use super::query::{Format, Params};
use super::start::{Start, Then};
use crate::msgs::{Discovered, Query};

/// `GET /v1/discovery`.
pub(crate) fn all(params: &Params) -> Start {
    let then = Then::Discovery { format: params.format, single: false };
    Start::Query { query: Query::Discovery(None), block: params.block(), then }
}

/// `GET /v1/discovery/{name}`.
pub(crate) fn one(name: ServiceName, params: &Params) -> Start {
    let then = Then::Discovery { format: Format::Tucano, single: true };
    Start::Query { query: Query::Discovery(Some(name)), block: params.block(), then }
}

#[derive(Serialize)]
struct ServiceAddresses {
    service: ServiceName,
    revision: u64,
    addresses: Vec<Address>,
}

#[derive(Serialize)]
struct Address {
    instance: InstanceId,
    address: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    worker: Option<WorkerName>,
}

/// One entry of Prometheus' `http_sd`.
#[derive(Serialize)]
struct TargetGroup {
    targets: Vec<String>,
    labels: BTreeMap<&'static str, String>,
}

/// The answer; none where one service was asked for and is not there.
pub(crate) fn answer(services: Vec<Discovered>, format: Format, single: bool) -> Option<Response> {
    if format == Format::Prometheus {
        let groups: Vec<TargetGroup> = services.iter().flat_map(target_groups).collect();
        return Some(Response::json(200, &groups));
    }
    let mut services: Vec<ServiceAddresses> = services.into_iter().map(addresses).collect();
    if single {
        return services.pop().map(|service| Response::json(200, &service));
    }
    Some(Response::json(200, &services))
}

fn addresses(found: Discovered) -> ServiceAddresses {
    let addresses = found.addresses.into_iter().map(|(instance, address, worker)| Address {
        instance,
        address: address.to_string(),
        worker,
    });
    let addresses = addresses.collect();
    ServiceAddresses { service: found.service, revision: found.revision, addresses }
}

fn target_groups(found: &Discovered) -> impl Iterator<Item = TargetGroup> + '_ {
    found.addresses.iter().map(|(instance, address, worker)| {
        let mut labels = BTreeMap::from([
            ("__meta_tucano_service", found.service.to_string()),
            ("__meta_tucano_revision", found.revision.to_string()),
            ("__meta_tucano_instance", instance.to_string()),
        ]);
        if let Some(worker) = worker {
            labels.insert("__meta_tucano_worker", worker.to_string());
        }
        TargetGroup { targets: vec![address.to_string()], labels }
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn found() -> Vec<Discovered> {
        let address = |text: &str| text.parse().expect("an address");
        let web = Discovered {
            service: ServiceName::new("web").expect("a name"),
            revision: 3,
            addresses: vec![
                (InstanceId(1), address("10.0.0.1:20000"), WorkerName::new("w1").ok()),
                (InstanceId(2), address("[fd00::2]:20001"), None),
            ],
        };
        let idle = Discovered {
            service: ServiceName::new("idle").expect("a name"),
            revision: 1,
            addresses: Vec::new(),
        };
        vec![web, idle]
    }

    fn body(response: &Response) -> Value {
        serde_json::from_slice(&response.body).expect("JSON")
    }

    #[test]
    fn our_own_shape() {
        let all = answer(found(), Format::Tucano, false).expect("an answer");
        let web = json!({"service": "web", "revision": 3, "addresses": [
            {"instance": "0000000000001", "address": "10.0.0.1:20000", "worker": "w1"},
            {"instance": "0000000000002", "address": "[fd00::2]:20001"},
        ]});
        let idle = json!({"service": "idle", "revision": 1, "addresses": []});
        assert_eq!(body(&all), json!([web, idle]));
        let one = answer(found()[..1].to_vec(), Format::Tucano, true).expect("an answer");
        assert_eq!(body(&one), web);
        assert!(answer(Vec::new(), Format::Tucano, true).is_none());
    }

    #[test]
    fn prometheus_shape() {
        let all = answer(found(), Format::Prometheus, false).expect("an answer");
        let groups = body(&all);
        assert_eq!(groups.as_array().map(Vec::len), Some(2));
        assert_eq!(
            groups[0],
            json!({"targets": ["10.0.0.1:20000"], "labels": {
                "__meta_tucano_service": "web", "__meta_tucano_revision": "3",
                "__meta_tucano_instance": "0000000000001", "__meta_tucano_worker": "w1",
            }})
        );
        let none = answer(Vec::new(), Format::Prometheus, false).expect("an answer");
        assert_eq!(body(&none), json!([]));
    }
}
