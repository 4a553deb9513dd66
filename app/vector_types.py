"""The types of component that Vector knows, for completion: a type that is not listed may be right all the same."""

from __future__ import annotations

_SOURCES = (
    "amqp apache_metrics aws_ecs_metrics aws_kinesis_firehose aws_s3 aws_sqs datadog_agent demo_logs dnstap"
    " docker_logs eventstoredb_metrics exec file file_descriptor fluent gcp_pubsub heroku_logs host_metrics"
    " http_client http_server internal_logs internal_metrics journald kafka kubernetes_logs logstash"
    " mongodb_metrics mqtt nats nginx_metrics okta opentelemetry postgresql_metrics prometheus_pushgateway"
    " prometheus_remote_write prometheus_scrape pulsar redis socket splunk_hec static_metrics statsd stdin syslog"
    " vector websocket windows_event_log"
)
_TRANSFORMS = (
    "aggregate aws_ec2_metadata dedupe exclusive_route filter incremental_to_absolute log_to_metric lua"
    " metric_to_log reduce remap route sample tag_cardinality_limit throttle trace_to_log window"
)
_SINKS = (
    "amqp appsignal aws_cloudwatch_logs aws_cloudwatch_metrics aws_kinesis_firehose aws_kinesis_streams aws_s3"
    " aws_sns aws_sqs axiom azure_blob azure_logs_ingestion azure_monitor_logs blackhole clickhouse console"
    " databend datadog_events datadog_logs datadog_metrics datadog_traces doris elasticsearch file"
    " gcp_chronicle_unstructured gcp_cloud_storage gcp_pubsub gcp_stackdriver_logs gcp_stackdriver_metrics"
    " greptimedb_logs greptimedb_metrics honeycomb http humio_logs humio_metrics influxdb_logs influxdb_metrics"
    " kafka keep loki mezmo mqtt nats new_relic opentelemetry papertrail postgres prometheus_exporter"
    " prometheus_remote_write pulsar redis sematext_logs sematext_metrics socket splunk_hec_logs"
    " splunk_hec_metrics statsd vector webhdfs websocket websocket_server"
)
TYPES = {
    "sources": tuple(_SOURCES.split()),
    "transforms": tuple(_TRANSFORMS.split()),
    "sinks": tuple(_SINKS.split()),
}
"""By Vector's table."""
