// Package monitoring is how a mesh is watched with Prometheus and Grafana: a
// configuration, alerts and dashboards as files, and the tests that they work. Read
// README.md. There is no code in it.
package monitoring
