#!/usr/bin/env python3
"""Writes the dashboards: dashboards.py [DIRECTORY], by default dashboards/ beside this file.

One line per query instead of forty lines of JSON. Invariants:
1. The JSON holds no data source's uid: `datasource` is a variable, so that it imports anywhere.
2. Positions and panel ids follow from the order here; a row of panels fills 24 columns.
3. Every panel has a unit and a description, every query a legend.
"""

import json
import pathlib
import sys

DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
COLUMNS = 24
GREEN, ORANGE, RED = "green", "orange", "red"


def query(expr, legend, table=False):
    """One query of a panel; `table` asks for the present values only, as rows."""
    made = {"datasource": DATASOURCE, "editorMode": "code", "expr": expr, "legendFormat": legend}
    return made | ({"format": "table", "instant": True, "range": False} if table else {"range": True})


def steps(*pairs):
    """Thresholds: the first colour holds from below."""
    return {"mode": "absolute", "steps": [{"color": c, "value": v} for v, c in pairs]}


def panel(kind, title, description, unit, queries, width, height, **more):
    """A panel without its place. `more`: thresholds, mappings, options, custom, decimals, overrides, …"""
    defaults = {
        "unit": unit,
        "thresholds": more.pop("thresholds", steps((None, GREEN))),
        "mappings": more.pop("mappings", []),
        "color": more.pop("color", {"mode": "palette-classic"}),
        "custom": more.pop("custom", {}),
    }
    defaults |= {key: more.pop(key) for key in ("min", "max", "decimals", "noValue", "links") if more.get(key) is not None}
    more.pop("min", None)
    for number, one in enumerate(queries):
        one["refId"] = chr(ord("A") + number)
    return {
        "type": kind,
        "title": title,
        "description": description,
        "datasource": DATASOURCE,
        "fieldConfig": {"defaults": defaults, "overrides": more.pop("overrides", [])},
        "options": more.pop("options", {}),
        "targets": queries,
        "transformations": more.pop("transformations", []),
        "size": (width, height),
    }


def stat(title, description, unit, expr, thresholds=None, width=3, **more):
    """One number, coloured by its thresholds, with its course behind it."""
    options = {
        "colorMode": "value" if thresholds else "none",
        "graphMode": "area",
        "justifyMode": "auto",
        "textMode": "value",
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
    }
    more.setdefault("color", {"mode": "thresholds"})
    queries = [query(expr, title)]
    return panel("stat", title, description, unit, queries, width, 4, options=options, thresholds=thresholds or steps((None, "text")), **more)


def graph(title, description, unit, *queries, width=8, height=8, stack=False, line_at=None, **more):
    """Lines over time, with a table of last values and maxima as legend."""
    custom = {
        "drawStyle": "line",
        "lineWidth": 1,
        "fillOpacity": 30 if stack else 8,
        "showPoints": "never",
        "spanNulls": False,
        "stacking": {"group": "A", "mode": "normal" if stack else "none"},
        "thresholdsStyle": {"mode": "line" if line_at is not None else "off"},
    }
    options = {
        "legend": {"displayMode": "table", "placement": "bottom", "calcs": ["lastNotNull", "max"], "showLegend": True},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }
    if line_at is not None:
        more["thresholds"] = steps((None, GREEN), (line_at, RED))
    more.setdefault("min", 0)
    return panel("timeseries", title, description, unit, list(queries), width, height, custom=custom, options=options, **more)


UP_DOWN = [{"type": "value", "options": {
    "0": {"text": "down", "color": RED, "index": 0},
    "1": {"text": "up", "color": GREEN, "index": 1},
}}]
NO_YES = [{"type": "value", "options": {
    "0": {"text": "no", "color": GREEN, "index": 0},
    "1": {"text": "yes", "color": RED, "index": 1},
}}]


def states(title, description, *queries, width=8, height=8, mappings=UP_DOWN):
    """States over time, one bar per series."""
    options = {
        "showValue": "never",
        "rowHeight": 0.9,
        "mergeValues": True,
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
        "tooltip": {"mode": "single"},
    }
    return panel(
        "state-timeline", title, description, "none", list(queries), width, height,
        options=options, mappings=mappings, color={"mode": "thresholds"}, custom={"fillOpacity": 80, "lineWidth": 0},
    )


def table(title, description, unit, queries, transformations, width, height, **more):
    """Present values as a table."""
    more.setdefault("custom", {"align": "auto", "cellOptions": {"type": "auto"}})
    options = {"showHeader": True, "cellHeight": "sm", "footer": {"show": False}}
    return panel(
        "table", title, description, unit, queries, width, height,
        options=options, transformations=transformations, color={"mode": "thresholds"}, **more,
    )


def unit_of(column, unit, **more):
    """Another unit for one column of a table."""
    properties = [{"id": "unit", "value": unit}] + [{"id": key, "value": value} for key, value in more.items()]
    return {"matcher": {"id": "byName", "options": column}, "properties": properties}


def variable_datasource():
    return {"type": "datasource", "name": "datasource", "label": "Data source", "query": "prometheus", "current": {}, "hide": 0, "refresh": 1, "regex": ""}


def variable(name, label, expr, multi=False):
    made = {
        "type": "query", "name": name, "label": label, "datasource": DATASOURCE, "definition": expr,
        "query": {"qryType": 1, "query": expr, "refId": "PrometheusVariableQueryEditor-VariableQuery"},
        "current": {}, "hide": 0, "refresh": 2, "regex": "", "sort": 1, "multi": multi, "includeAll": multi,
    }
    return made | ({"allValue": ".*", "current": {"text": ["All"], "value": ["$__all"]}} if multi else {})


def placed(rows):
    """Panels with ids and places, a heading above each row."""
    panels, y = [], 0
    for title, members in rows:
        panels.append({"type": "row", "title": title, "collapsed": False, "panels": [], "gridPos": {"x": 0, "y": y, "w": COLUMNS, "h": 1}})
        x, y, tallest = 0, y + 1, 0
        for member in members:
            width, height = member.pop("size")
            if x + width > COLUMNS:
                x, y, tallest = 0, y + tallest, 0
            member["gridPos"] = {"x": x, "y": y, "w": width, "h": height}
            x, tallest = x + width, max(tallest, height)
            panels.append(member)
        y += tallest
    for number, made in enumerate(panels, start=1):
        made["id"] = number
    return panels


def dashboard(uid, title, description, variables, rows):
    return {
        "uid": uid,
        "title": title,
        "description": description,
        "tags": ["fanal"],
        "schemaVersion": 41,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "browser",
        "timepicker": {},
        "fiscalYearStartMonth": 0,
        "weekStart": "",
        "annotations": {"list": []},
        "links": [{
            "type": "dashboards", "title": "Fanal", "tags": ["fanal"], "asDropdown": False, "icon": "dashboard",
            "includeVars": True, "keepTime": True, "targetBlank": False, "tooltip": "The other dashboards of Fanal", "url": "",
        }],
        "templating": {"list": variables},
        "panels": placed(rows),
    }


TO_BROKER = [{
    "title": "Broker ${__field.labels.instance}",
    "url": "/d/fanal-broker?var-datasource=${datasource}&var-job=${job}&var-instance=${__field.labels.instance}&${__url_time_range}",
}]


def rate(name, by, select, extra=""):
    """Events a second, summed."""
    return f"sum by ({by}) (rate({name}{{{select}{extra}}}[$__rate_interval]))"


def ledger(by, select):
    """The ledger (docs/METRICS.md): what came minus what became of it."""
    came = ["fanal_routes_total", "fanal_ledger_queued_at_start"]
    went = [
        "fanal_events_acked_total", "fanal_ledger_queued", "fanal_events_expired_total",
        "fanal_events_dead_lettered_total", "fanal_events_dropped_total", "fanal_events_duplicate_total",
    ]
    term = lambda name: f"sum by ({by}) ({name}{{{select}}})"
    return " + ".join(map(term, came)) + "".join(f" - {term(name)}" for name in went)


# ---- all brokers ----

ALL = 'job="$job", instance=~"$instance"'
AND_FANAL = f"and on (job, instance) fanal_build_info{{{ALL}}}"


def federation():
    now = [
        stat("Brokers up", "Brokers that Prometheus reaches.", "none", f"sum(up{{{ALL}}})"),
        stat("Brokers down", "Brokers that Prometheus does not reach.", "none", f"count(up{{{ALL}}}) - sum(up{{{ALL}}})", steps((None, GREEN), (1, RED))),
        stat("Links down", "Ends of links that are down: a link that is down shows at both of its brokers.", "none", f"sum(1 - fanal_link_up{{{ALL}}})", steps((None, GREEN), (1, RED))),
        stat("Published", "Events that clients publish, over all brokers.", "cps", f"sum(rate(fanal_events_published_total{{{ALL}}}[$__rate_interval]))"),
        stat("Delivered", "Copies written to subscribers, over all brokers.", "cps", f"sum(rate(fanal_events_delivered_total{{{ALL}}}[$__rate_interval]))"),
        stat("Waiting", "Events in mailboxes: of durable subscriptions that are behind or away, and of peers.", "short", f"sum(fanal_mailbox_events{{{ALL}}})"),
        stat("Dropped", "Copies dropped within the range shown, for whatever reason.", "short", f"sum(increase(fanal_events_dropped_total{{{ALL}}}[$__range]))", steps((None, GREEN), (1, ORANGE)), decimals=0),
        stat("Refused", "Share of publishes refused, with whatever code.", "percentunit",
             f"sum(rate(fanal_publish_refused_total{{{ALL}}}[$__rate_interval])) / (sum(rate(fanal_publish_refused_total{{{ALL}}}[$__rate_interval])) + sum(rate(fanal_events_published_total{{{ALL}}}[$__rate_interval])))",
             steps((None, GREEN), (0.01, ORANGE), (0.05, RED)), noValue="0"),
    ]
    columns = ["up", "ready", "uptime", "sessions", "subscriptions", "waiting", "store left", "memory"]
    brokers = table(
        "Brokers", "Each broker now. «store left» is the share of the store's room up to its limit or the end of the disk.", "short",
        [
            query(f"max by (instance) (up{{{ALL}}})", "up", table=True),
            query(f"max by (instance) (fanal_ready{{{ALL}}})", "ready", table=True),
            query(f"max by (instance) (time() - process_start_time_seconds{{{ALL}}})", "uptime", table=True),
            query(f"sum by (instance) (fanal_sessions{{{ALL}}})", "sessions", table=True),
            query(f"sum by (instance) (fanal_subscriptions{{{ALL}}})", "subscriptions", table=True),
            query(f"sum by (instance) (fanal_mailbox_events{{{ALL}}})", "waiting", table=True),
            query(f"min by (instance) (fanal_store_available_bytes{{{ALL}}} / (fanal_store_available_bytes{{{ALL}}} + fanal_store_bytes{{{ALL}}}))", "store left", table=True),
            query(f"sum by (instance) (process_resident_memory_bytes{{{ALL}}} {AND_FANAL})", "memory", table=True),
        ],
        [
            {"id": "merge", "options": {}},
            {"id": "organize", "options": {
                "excludeByName": {"Time": True},
                "renameByName": {"instance": "broker"} | {f"Value #{chr(ord('A') + at)}": name for at, name in enumerate(columns)},
            }},
        ],
        14, 8,
        overrides=[
            unit_of("broker", "string", links=[{"title": "This broker", "url": "/d/fanal-broker?var-datasource=${datasource}&var-job=${job}&var-instance=${__value.text}&${__url_time_range}"}]),
            unit_of("up", "none", mappings=UP_DOWN, **{"custom.cellOptions": {"type": "color-text"}}),
            unit_of("ready", "none", mappings=[{"type": "value", "options": {"0": {"text": "no", "color": RED, "index": 0}, "1": {"text": "yes", "color": GREEN, "index": 1}}}], **{"custom.cellOptions": {"type": "color-text"}}),
            unit_of("uptime", "s", decimals=1),
            unit_of("store left", "percentunit", thresholds=steps((None, RED), (0.1, ORANGE), (0.25, GREEN)), **{"custom.cellOptions": {"type": "color-text"}}),
            unit_of("memory", "bytes"),
        ],
    )
    matrix = table(
        "Links", "Rows are brokers, columns their peers. Brokers appear under one name on both sides if `instance` is the broker's name.", "none",
        [query(f"max by (instance, peer) (fanal_link_up{{{ALL}}})", "{{instance}} → {{peer}}", table=True)],
        [{"id": "groupingToMatrix", "options": {"rowField": "instance", "columnField": "peer", "valueField": "Value", "emptyValue": "null"}}],
        10, 8,
        mappings=UP_DOWN, thresholds=steps((None, RED), (1, GREEN)),
        custom={"align": "center", "cellOptions": {"type": "color-background", "mode": "basic"}},
    )
    return dashboard(
        "fanal-federation", "Fanal federation overview",
        "All brokers of a federation: who is up, who is linked to whom, what flows, what waits, and what went wrong.",
        [
            variable_datasource(),
            variable("job", "Job", "label_values(fanal_build_info, job)"),
            variable("instance", "Broker", 'label_values(fanal_build_info{job="$job"}, instance)', multi=True),
        ],
        [
            ("Now", now + [brokers, matrix]),
            ("Throughput", [
                graph("Published", "Events accepted from clients, by broker.", "cps", query(rate("fanal_events_published_total", "instance", ALL), "{{instance}}"), width=6, links=TO_BROKER),
                graph("Delivered", "Copies written to subscribers, by broker.", "cps", query(rate("fanal_events_delivered_total", "instance", ALL), "{{instance}}"), width=6, links=TO_BROKER),
                graph("Forwarded", "Copies written to peers over both paths of a link, resends included.", "cps", query(rate("fanal_events_forwarded_total", "instance, peer", ALL), "{{instance}} → {{peer}}"), width=6),
                graph("Received", "Copies received from peers over both paths of a link.", "cps", query(rate("fanal_events_received_total", "instance, peer", ALL), "{{instance}} ← {{peer}}"), width=6),
            ]),
            ("Links", [
                states("Links over time", "Each end of each link.", query(f"max by (instance, peer) (fanal_link_up{{{ALL}}})", "{{instance}} → {{peer}}")),
                graph("Link lag", "Events in a peer's mailbox: what waits for the link, or for the peer's ack.", "short", query(f"sum by (instance, peer) (fanal_link_lag_events{{{ALL}}})", "{{instance}} → {{peer}}")),
                graph("Round-trip time", "As QUIC measures it, while a link is up.", "s", query(f"max by (instance, peer) (fanal_link_rtt_seconds{{{ALL}}} and on (job, instance, peer) fanal_link_up{{{ALL}}} == 1)", "{{instance}} → {{peer}}")),
            ]),
            ("What waits", [
                graph("Mailboxes", "Events in mailboxes, by kind: durable subscriptions, and peers.", "short", query(f"sum by (instance, kind) (fanal_mailbox_events{{{ALL}}})", "{{instance}} {{kind}}"), width=6),
                graph("Oldest event", "Age of the oldest event in any mailbox, by kind. A durable subscriber that is away makes it grow; that is what mailboxes are for.", "s", query(f"max by (instance, kind) (fanal_mailbox_oldest_age_seconds{{{ALL}}})", "{{instance}} {{kind}}"), width=6),
                graph("Store", "Bytes of segments on disk.", "bytes", query(f"sum by (instance) (fanal_store_bytes{{{ALL}}})", "{{instance}}"), width=6, links=TO_BROKER),
                graph("Store left", "Share of the room that is left, up to limits.store_bytes or the end of the disk. At 0 publishes are refused with 507.", "percentunit",
                      query(f"fanal_store_available_bytes{{{ALL}}} / (fanal_store_available_bytes{{{ALL}}} + fanal_store_bytes{{{ALL}}})", "{{instance}}"), width=6, max=1, links=TO_BROKER),
            ]),
            ("What went wrong", [
                graph("Dropped", "Copies dropped, by class and reason. `removed` and `closed` follow from what somebody did; `slow_consumer` and `memory` are live subscribers or links that do not keep up; `damaged` is the disk.", "cps",
                      query(rate("fanal_events_dropped_total", "instance, class, reason", ALL), "{{instance}} {{class}} {{reason}}"), width=6),
                graph("Refused", "Publishes refused, by code.", "cps", query(rate("fanal_publish_refused_total", "instance, code", ALL), "{{instance}} {{code}}"), width=6),
                graph("Expired and dead-lettered", "Copies whose TTL ended before delivery, and copies that were set aside undelivered.", "cps",
                      query(rate("fanal_events_expired_total", "instance, class", ALL), "{{instance}} {{class}} expired"),
                      query(rate("fanal_events_dead_lettered_total", "instance, class", ALL), "{{instance}} {{class}} dead-lettered"), width=6),
                graph("Ledger", "Per class: routed + queued at start − acked − queued − expired − dead-lettered − dropped − duplicates. 0 at a quiet broker; at a busy one it swings by what happens during a scrape. A line that stays away from 0 is a fault.", "short",
                      query(ledger("instance, class", ALL), "{{instance}} {{class}}"), width=6, min=None),
            ]),
        ],
    )


# ---- one broker ----

ONE = 'job="$job", instance="$instance"'


def quantiles(name):
    """p50, p90 and p99 of a histogram."""
    of = lambda q: f"histogram_quantile({q}, sum by (le) (rate({name}_bucket{{{ONE}}}[$__rate_interval])))"
    return [query(of(q), legend) for q, legend in [("0.5", "p50"), ("0.9", "p90"), ("0.99", "p99")]]


def broker():
    one = lambda name: f"sum({name}{{{ONE}}})"
    total = lambda name, extra="": f"sum(rate({name}{{{ONE}{extra}}}[$__rate_interval]))"
    left = f"fanal_store_available_bytes{{{ONE}}} / (fanal_store_available_bytes{{{ONE}}} + fanal_store_bytes{{{ONE}}})"
    now = [
        stat("Ready", "Whether it takes new work. Down is: Prometheus does not reach it.", "none", f"max(fanal_ready{{{ONE}}}) or max(up{{{ONE}}})", steps((None, RED), (1, GREEN)),
             mappings=[{"type": "value", "options": {"0": {"text": "no", "color": RED, "index": 0}, "1": {"text": "yes", "color": GREEN, "index": 1}}}]),
        stat("Uptime", "Since the process started.", "s", f"time() - max(process_start_time_seconds{{{ONE}}})", decimals=1),
        stat("Links up", "Peers that it is linked to now.", "none", one("fanal_link_up")),
        stat("Sessions", "Client connections.", "none", one("fanal_sessions")),
        stat("Published", "Events accepted from clients.", "cps", total("fanal_events_published_total")),
        stat("Delivered", "Copies written to subscribers.", "cps", total("fanal_events_delivered_total")),
        stat("Waiting", "Events in mailboxes.", "short", one("fanal_mailbox_events")),
        stat("Store left", "Share of the store's room that is left.", "percentunit", left, steps((None, RED), (0.1, ORANGE), (0.25, GREEN))),
    ]
    return dashboard(
        "fanal-broker", "Fanal broker",
        "One broker: what comes in and goes out and how fast, what waits, its links, its store and its process.",
        [
            variable_datasource(),
            variable("job", "Job", "label_values(fanal_build_info, job)"),
            variable("instance", "Broker", 'label_values(fanal_build_info{job="$job"}, instance)'),
        ],
        [
            ("Now", now),
            ("Throughput", [
                graph("Published", "Events accepted from clients, by class.", "cps", query(rate("fanal_events_published_total", "class", ONE), "{{class}}"), stack=True),
                graph("Routed", "Copies routed to destinations: durable and live subscriptions here, mailboxes (peer) and live paths (peer_live) of peers.", "cps", query(rate("fanal_routes_total", "class", ONE), "{{class}}"), stack=True),
                graph("Delivered", "Copies written to subscribers, and copies written to durable subscribers again.", "cps",
                      query(rate("fanal_events_delivered_total", "class", ONE), "{{class}}"), query(total("fanal_events_redelivered_total"), "redelivered")),
                graph("Acked", "Copies done with: acked, or written where there are no acks.", "cps", query(rate("fanal_events_acked_total", "class", ONE), "{{class}}"), stack=True),
                graph("Forwarded", "Copies written to peers over both paths of a link, resends included.", "cps", query(rate("fanal_events_forwarded_total", "peer", ONE), "to {{peer}}"), stack=True),
                graph("Received", "Copies received from peers over both paths of a link, and resends that were recognised and not counted among them.", "cps",
                      query(rate("fanal_events_received_total", "peer", ONE), "from {{peer}}"), query(rate("fanal_link_duplicates_total", "peer", ONE), "resent by {{peer}}")),
            ]),
            ("Latency", [
                graph("Publish", "From reading a batch of publishes to its receipt: routing, the log writer's queue, and the flush.", "s", *quantiles("fanal_publish_seconds"), width=6),
                graph("Delivery", "From acceptance at the publisher's home to writing to the subscriber. Includes the time that an event waited for an absent subscriber, and across a link the difference of two brokers' clocks.", "s", *quantiles("fanal_delivery_seconds"), width=6),
                graph("Match", "Routing of one event: finding its destinations and evaluating their predicates.", "s", *quantiles("fanal_match_seconds"), width=6),
                graph("Flush", "Writing and flushing one batch of the log. The red line is the alert's threshold.", "s", *quantiles("fanal_store_flush_seconds"), width=6, line_at=0.25),
            ]),
            ("Mailboxes and buffers", [
                graph("Mailboxes, events", "Events that wait in mailboxes, by kind.", "short", query(f"sum by (kind) (fanal_mailbox_events{{{ONE}}})", "{{kind}}"), width=6),
                graph("Mailboxes, bytes", "Bytes of those events.", "bytes", query(f"sum by (kind) (fanal_mailbox_bytes{{{ONE}}})", "{{kind}}"), width=6),
                graph("Oldest event", "Age of the oldest event in any mailbox, by kind.", "s", query(f"max by (kind) (fanal_mailbox_oldest_age_seconds{{{ONE}}})", "{{kind}}"), width=6),
                graph("Waiting copies", "The ledger's view, by class: in mailboxes (durable, peer) and in live buffers (live, peer_live).", "short", query(f"sum by (class) (fanal_ledger_queued{{{ONE}}})", "{{class}}"), width=6),
            ]),
            ("Links", [
                states("Links", "Links to peers over time.", query(f"max by (peer) (fanal_link_up{{{ONE}}})", "{{peer}}")),
                graph("Lag", "Events in a peer's mailbox.", "short", query(f"sum by (peer) (fanal_link_lag_events{{{ONE}}})", "{{peer}}")),
                graph("Round-trip time", "As QUIC measures it; 0 while the link is down.", "s", query(f"max by (peer) (fanal_link_rtt_seconds{{{ONE}}})", "{{peer}}")),
                graph("Interest", "Entries: what peers ask of this broker (in), and what it asks of them (out).", "short", query(f"sum by (peer, direction) (fanal_interest_entries{{{ONE}}})", "{{peer}} {{direction}}"), width=12),
                states("Interest widened", "Whether interest sent to a peer is wider than the subscriptions, because they are too many.", query(f"max by (peer) (fanal_interest_widened{{{ONE}}})", "{{peer}}"), width=12, mappings=NO_YES),
            ]),
            ("Store", [
                graph("Size", "Bytes of segments on disk, and by how much it can still grow.", "bytes", query(one("fanal_store_bytes"), "on disk"), query(one("fanal_store_available_bytes"), "can still grow"), stack=True),
                graph("Flushes", "Batches written and flushed. Fewer flushes than publishes is group commit at work.", "ops", query(f"sum(rate(fanal_store_flush_seconds_count{{{ONE}}}[$__rate_interval]))", "flushes")),
                states("Full or stopped", "Full: events are refused with 507 until there is room. Stopped: a write failed, nothing is acknowledged until a restart.",
                       query(one("fanal_store_full"), "full"), query(one("fanal_store_stopped"), "stopped"), mappings=NO_YES),
            ]),
            ("What went wrong", [
                graph("Refused", "Publishes refused, by code.", "cps", query(rate("fanal_publish_refused_total", "code", ONE), "{{code}}"), width=6),
                graph("Dropped", "Copies dropped, by class and reason.", "cps", query(rate("fanal_events_dropped_total", "class, reason", ONE), "{{class}} {{reason}}"), width=6),
                graph("Expired, dead-lettered, duplicates", "Copies whose TTL ended before delivery, that were set aside undelivered, or that were recognised as duplicates where they were routed.", "cps",
                      query(rate("fanal_events_expired_total", "class", ONE), "{{class}} expired"),
                      query(rate("fanal_events_dead_lettered_total", "class, reason", ONE), "{{class}} dead-lettered {{reason}}"),
                      query(rate("fanal_events_duplicate_total", "class", ONE), "{{class}} duplicates"), width=6),
                graph("Ledger", "Per class, what came minus what became of it: 0 at a quiet broker.", "short", query(ledger("class", ONE), "{{class}}"), width=6, min=None),
            ]),
            ("Clients", [
                graph("Sessions", "Client connections.", "short", query(f"sum by (state) (fanal_sessions{{{ONE}}})", "{{state}}"), width=12),
                graph("Subscriptions", "Live ones, and durable ones with or without a subscriber.", "short", query(f"sum by (kind) (fanal_subscriptions{{{ONE}}})", "{{kind}}"), width=12),
            ]),
            ("Process", [
                graph("CPU", "Cores in use.", "short", query(f"sum(rate(process_cpu_seconds_total{{{ONE}}}[$__rate_interval]))", "cores"), width=6),
                graph("Memory", "Resident memory.", "bytes", query(one("process_resident_memory_bytes"), "resident"), width=6),
                graph("File descriptors", "In use, and how many there may be.", "short", query(one("process_open_fds"), "open"), query(one("process_max_fds"), "limit"), width=6),
                table("Version", "What runs.", "none", [query(f"max by (instance, version) (fanal_build_info{{{ONE}}})", "{{version}}", table=True)],
                      [{"id": "organize", "options": {"excludeByName": {"Time": True, "Value": True}, "renameByName": {"instance": "broker"}}}], 6, 8),
            ]),
        ],
    )


def main():
    here = pathlib.Path(__file__).resolve().parent
    target = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else here / "dashboards"
    target.mkdir(parents=True, exist_ok=True)
    for made in (federation(), broker()):
        text = json.dumps(made, indent=2, ensure_ascii=False)
        (target / f"{made['uid']}.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
