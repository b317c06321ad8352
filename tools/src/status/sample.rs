//! A document for tests: a whole group of two nodes and a witness, in which all is well.

/// The text of it.
pub const SAMPLE: &str = r#"{
    "nodes": [
        {"name":"a","pid":11,"warden_pid":10,"incarnation":1,"up":true,
         "resp":"127.0.0.1:7400","http":"127.0.0.1:7480"},
        {"name":"b","pid":21,"warden_pid":20,"incarnation":3,"up":true,
         "resp":"127.0.0.1:7500","http":"127.0.0.1:7580"}],
    "agents": [{"name":"a","up":true},{"name":"b","up":true},{"name":"w","up":true}],
    "shards": [{"id":0,"slots":[0,16383],"epoch":4,"version":9,"leader":"a","in_sync":["a","b"],
        "nodes":{
            "a":{"role":"leader","written":800,"durable":800,"committed":800,"applied":800,
                 "lag_bytes":0,"lag_us":0},
            "b":{"role":"follower","written":800,"durable":800,"committed":760,"applied":760,
                 "lag_bytes":40,"lag_us":12}}}],
    "history": [{"at":"2023-11-14T22:13:20.123Z","shard":0,"epoch":4,"leader":"a","why":"leader-died","node":null,"count":1}]
}"#;
