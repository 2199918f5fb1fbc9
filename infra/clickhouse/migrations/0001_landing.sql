-- Landing tables: one per topic, printed by 'python -m sinks.ddl landing'.
CREATE TABLE IF NOT EXISTS raw_events_admitted
(
    `event_id` String COMMENT 'The producer\'s event id.',
    `tenant` LowCardinality(String) COMMENT 'Whose data this is; part of every key.',
    `source` LowCardinality(String) COMMENT 'Producer.',
    `event_type` LowCardinality(String) COMMENT 'As in events.raw.',
    `event_ms` Int64 COMMENT 'When it happened.',
    `appended_ms` Int64 COMMENT 'When the broker appended it to events.raw; latency is counted from here.',
    `profile_id` String COMMENT 'Pseudonymous profile id: keyed HMAC of tenant and subject, 32 hex characters.',
    `item_id` String COMMENT 'Product or content, or empty.',
    `category` LowCardinality(String) COMMENT 'Category, or empty.',
    `cart_id` String COMMENT 'Cart, or empty.',
    `order_id` String COMMENT 'Order, or empty.',
    `quantity` Float64 COMMENT 'Units, 0 when unknown.',
    `value_micros` Int64 COMMENT 'Value in micro-units of the currency.',
    `currency` LowCardinality(String) COMMENT 'ISO 4217, or empty.',
    `lines_json` String COMMENT 'Purchase lines as JSON [[item_id, quantity, price_micros], ...], or empty. Read it with JSONExtract(lines_json, \'Array(Tuple(String, Float64, Int64))\').',
    `properties_json` String COMMENT 'Free properties as JSON, or empty. Read it with JSONExtractString(properties_json, \'name\').',
    `locale` LowCardinality(String) COMMENT 'Coarse trait of the person, or empty.',
    `country` LowCardinality(String) COMMENT 'Coarse trait, or empty.',
    `timezone` LowCardinality(String) COMMENT 'Coarse trait, or empty.',
    `purposes` Int32 COMMENT 'Bit mask of what this event may be used for: 1 measure, 2 personalise, 4 contact, 8 train.',
    `origin_partition` Int32 COMMENT 'Partition of events.raw it came from.',
    `origin_offset` Int64 COMMENT 'Offset there.',
    `origin_sequence` Int32 COMMENT 'Which of the emissions of that offset this is; a replay repeats the same triple.',
    `_topic_id` LowCardinality(String) COMMENT 'Kafka\'s id of the topic; changes when the topic is deleted and made again',
    `_partition` UInt32 COMMENT 'Kafka partition the record stood in',
    `_offset` UInt64 COMMENT 'Kafka offset of the record in that partition',
    `_appended_ms` Int64 COMMENT 'Kafka\'s timestamp of the record, milliseconds since 1970 UTC',
    `event_at` DateTime64(3, 'UTC') ALIAS fromUnixTimestamp64Milli(event_ms, 'UTC') COMMENT 'When it happened, as a time.',
    `appended_at` DateTime64(3, 'UTC') ALIAS fromUnixTimestamp64Milli(appended_ms, 'UTC') COMMENT 'When the broker appended it to events.raw; latency is counted from here, as a time.'
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(fromUnixTimestamp64Milli(_appended_ms, 'UTC'))
ORDER BY (tenant, profile_id, event_ms, event_id, origin_partition, origin_offset, origin_sequence, _partition, _offset)
TTL toDateTime(fromUnixTimestamp64Milli(_appended_ms, 'UTC')) + INTERVAL 30 DAY
SETTINGS non_replicated_deduplication_window = 10000
COMMENT 'Landing of events.admitted: one row per Kafka record, repeats included; ask the view events instead.';

CREATE TABLE IF NOT EXISTS raw_decisions_made
(
    `decision_id` String COMMENT 'Id of the decision, the one id from trigger to conversion.',
    `tenant` LowCardinality(String) COMMENT 'Whose data this is; part of every key.',
    `profile_id` String COMMENT 'Pseudonymous profile id: keyed HMAC of tenant and subject, 32 hex characters.',
    `playbook` LowCardinality(String) COMMENT 'Playbook name.',
    `playbook_version` Int32 COMMENT 'Version in force.',
    `trigger` LowCardinality(String) COMMENT 'event, absence, recency or segment.',
    `trigger_event_id` String COMMENT 'Event that caused the moment.',
    `object_id` String COMMENT 'Cart, item or order the moment is about, or empty.',
    `moment_ms` Int64 COMMENT 'The moment, in the tenant\'s time.',
    `useful_until_ms` Int64 COMMENT 'After this the message is dropped.',
    `window_ms` Int64 COMMENT 'Conversion window after the moment.',
    `conversion` LowCardinality(String) COMMENT 'Event type that counts as conversion.',
    `value_micros` Int64 COMMENT 'Value of a conversion to the playbook, 0: the purchase\'s own value.',
    `holdout` Bool COMMENT 'True: nothing is sent, the person is the comparison.',
    `arm` LowCardinality(String) COMMENT 'Variant chosen; for a hold-out the one that would have been.',
    `propensity` Float64 COMMENT 'Probability of `arm` given not held out, (0, 1].',
    `propensities_json` String COMMENT 'The whole vector, {arm: probability}. Read it with JSONExtract(propensities_json, \'Map(String, Float64)\').',
    `holdout_probability` Float64 COMMENT 'Probability of being held out, [0, 1).',
    `policy_version` LowCardinality(String) COMMENT 'Policy that gave the vector.',
    `segment` LowCardinality(String) COMMENT 'Segment cell the policy was read at.',
    `segments_json` String COMMENT 'All segments the person was in, JSON list. Read it with JSONExtract(segments_json, \'Array(String)\').',
    `features_json` String COMMENT 'Feature snapshot {name: {value, age_ms}} at the moment. Read it with JSONExtractFloat(features_json, \'name\', \'value\').',
    `evidence_json` String COMMENT 'Events and values that fired the trigger. Read it with JSONExtractRaw(evidence_json).',
    `item_ids_json` String COMMENT 'Items the message is about, most important first, JSON list. Read it with JSONExtract(item_ids_json, \'Array(String)\').',
    `purposes` Int32 COMMENT 'Purposes in force at the decision.',
    `channel` LowCardinality(String) COMMENT 'Channel chosen.',
    `locale` LowCardinality(String) COMMENT 'Locale of the message.',
    `trigger_appended_ms` Int64 COMMENT 'Broker time of the record that caused the moment; latency starts here.',
    `decided_ms` Int64 COMMENT 'Wall clock of the decision.',
    `origin_partition` Int32 COMMENT 'Partition of events.admitted.',
    `origin_offset` Int64 COMMENT 'Offset that caused it.',
    `origin_sequence` Int32 COMMENT 'Emission number within that offset.',
    `_topic_id` LowCardinality(String) COMMENT 'Kafka\'s id of the topic; changes when the topic is deleted and made again',
    `_partition` UInt32 COMMENT 'Kafka partition the record stood in',
    `_offset` UInt64 COMMENT 'Kafka offset of the record in that partition',
    `_appended_ms` Int64 COMMENT 'Kafka\'s timestamp of the record, milliseconds since 1970 UTC',
    `moment_at` DateTime64(3, 'UTC') ALIAS fromUnixTimestamp64Milli(moment_ms, 'UTC') COMMENT 'The moment, in the tenant\'s time, as a time.',
    `useful_until_at` DateTime64(3, 'UTC') ALIAS fromUnixTimestamp64Milli(useful_until_ms, 'UTC') COMMENT 'After this the message is dropped, as a time.',
    `trigger_appended_at` DateTime64(3, 'UTC') ALIAS fromUnixTimestamp64Milli(trigger_appended_ms, 'UTC') COMMENT 'Broker time of the record that caused the moment; latency starts here, as a time.',
    `decided_at` DateTime64(3, 'UTC') ALIAS fromUnixTimestamp64Milli(decided_ms, 'UTC') COMMENT 'Wall clock of the decision, as a time.'
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(fromUnixTimestamp64Milli(_appended_ms, 'UTC'))
ORDER BY (tenant, decision_id, _partition, _offset)
TTL toDateTime(fromUnixTimestamp64Milli(_appended_ms, 'UTC')) + INTERVAL 400 DAY
SETTINGS non_replicated_deduplication_window = 10000
COMMENT 'Landing of decisions.made: one row per Kafka record, repeats included; ask the view decisions instead.';

CREATE TABLE IF NOT EXISTS raw_messages_ready
(
    `decision_id` String COMMENT 'Id of the decision, the one id from trigger to conversion.',
    `tenant` LowCardinality(String) COMMENT 'Whose data this is; part of every key.',
    `profile_id` String COMMENT 'Pseudonymous profile id: keyed HMAC of tenant and subject, 32 hex characters.',
    `playbook` LowCardinality(String) COMMENT 'Playbook.',
    `playbook_version` Int32 COMMENT 'Version.',
    `channel` LowCardinality(String) COMMENT 'email or webhook.',
    `arm` LowCardinality(String) COMMENT 'Variant.',
    `rung` LowCardinality(String) COMMENT 'frontier, small, grammar or template.',
    `subject` String COMMENT 'Subject line; may hold {first_name}.',
    `body` String COMMENT 'Plain text; may hold {first_name} and {unsubscribe_url}.',
    `link` String COMMENT 'Target of the call to action.',
    `facts_json` String COMMENT 'Typed facts bound into it, with their as_of. Read it with JSONExtractKeysAndValuesRaw(facts_json).',
    `brief_json` String COMMENT 'What the model was told: bucketed signals and slots, no personal data. Read it with JSONExtractKeysAndValuesRaw(brief_json).',
    `prompt_hash` String COMMENT 'Hash of the prompt that made it.',
    `model` LowCardinality(String) COMMENT 'Model or generator.',
    `tokens_in` Int64 COMMENT 'Prompt tokens.',
    `tokens_out` Int64 COMMENT 'Completion tokens.',
    `cost_usd_micros` Int64 COMMENT 'Cost in micro-dollars.',
    `gates_json` String COMMENT 'Gate results {gate: ok|reason} of every attempt. Read it with JSONExtractKeysAndValuesRaw(gates_json).',
    `moment_ms` Int64 COMMENT 'As in the decision.',
    `useful_until_ms` Int64 COMMENT 'As in the decision.',
    `purposes` Int32 COMMENT 'As in the decision.',
    `locale` LowCardinality(String) COMMENT 'Language of the text.',
    `trigger_appended_ms` Int64 COMMENT 'As in the decision.',
    `decided_ms` Int64 COMMENT 'As in the decision.',
    `ready_ms` Int64 COMMENT 'Wall clock when it was ready.',
    `origin_partition` Int32 COMMENT 'Partition of decisions.made.',
    `origin_offset` Int64 COMMENT 'Offset there.',
    `origin_sequence` Int32 COMMENT 'Emission number.',
    `_topic_id` LowCardinality(String) COMMENT 'Kafka\'s id of the topic; changes when the topic is deleted and made again',
    `_partition` UInt32 COMMENT 'Kafka partition the record stood in',
    `_offset` UInt64 COMMENT 'Kafka offset of the record in that partition',
    `_appended_ms` Int64 COMMENT 'Kafka\'s timestamp of the record, milliseconds since 1970 UTC',
    `moment_at` DateTime64(3, 'UTC') ALIAS fromUnixTimestamp64Milli(moment_ms, 'UTC') COMMENT 'As in the decision, as a time.',
    `useful_until_at` DateTime64(3, 'UTC') ALIAS fromUnixTimestamp64Milli(useful_until_ms, 'UTC') COMMENT 'As in the decision, as a time.',
    `trigger_appended_at` DateTime64(3, 'UTC') ALIAS fromUnixTimestamp64Milli(trigger_appended_ms, 'UTC') COMMENT 'As in the decision, as a time.',
    `decided_at` DateTime64(3, 'UTC') ALIAS fromUnixTimestamp64Milli(decided_ms, 'UTC') COMMENT 'As in the decision, as a time.',
    `ready_at` DateTime64(3, 'UTC') ALIAS fromUnixTimestamp64Milli(ready_ms, 'UTC') COMMENT 'Wall clock when it was ready, as a time.'
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(fromUnixTimestamp64Milli(_appended_ms, 'UTC'))
ORDER BY (tenant, decision_id, _partition, _offset)
TTL toDateTime(fromUnixTimestamp64Milli(_appended_ms, 'UTC')) + INTERVAL 90 DAY
SETTINGS non_replicated_deduplication_window = 10000
COMMENT 'Landing of messages.ready: one row per Kafka record, repeats included; ask the view messages instead.';

CREATE TABLE IF NOT EXISTS raw_deliveries_sent
(
    `delivery_id` String COMMENT 'Deterministic id.',
    `decision_id` String COMMENT 'Id of the decision, the one id from trigger to conversion.',
    `tenant` LowCardinality(String) COMMENT 'Whose data this is; part of every key.',
    `profile_id` String COMMENT 'Pseudonymous profile id: keyed HMAC of tenant and subject, 32 hex characters.',
    `playbook` LowCardinality(String) COMMENT 'Playbook.',
    `channel` LowCardinality(String) COMMENT 'Channel.',
    `arm` LowCardinality(String) COMMENT 'Variant.',
    `rung` LowCardinality(String) COMMENT 'Rung.',
    `status` LowCardinality(String) COMMENT 'sent, skipped or failed.',
    `reason` LowCardinality(String) COMMENT 'Reason code when not sent.',
    `attempts` Int32 COMMENT 'Tries made.',
    `provider_id` String COMMENT 'What the channel calls it (Message-ID).',
    `moment_ms` Int64 COMMENT 'The decision\'s moment.',
    `sent_ms` Int64 COMMENT 'Tenant\'s time of the dispatch.',
    `dispatched_ms` Int64 COMMENT 'Wall clock of it.',
    `origin_partition` Int32 COMMENT 'Partition of messages.ready.',
    `origin_offset` Int64 COMMENT 'Offset there.',
    `origin_sequence` Int32 COMMENT 'Emission number.',
    `_topic_id` LowCardinality(String) COMMENT 'Kafka\'s id of the topic; changes when the topic is deleted and made again',
    `_partition` UInt32 COMMENT 'Kafka partition the record stood in',
    `_offset` UInt64 COMMENT 'Kafka offset of the record in that partition',
    `_appended_ms` Int64 COMMENT 'Kafka\'s timestamp of the record, milliseconds since 1970 UTC',
    `moment_at` DateTime64(3, 'UTC') ALIAS fromUnixTimestamp64Milli(moment_ms, 'UTC') COMMENT 'The decision\'s moment, as a time.',
    `sent_at` DateTime64(3, 'UTC') ALIAS fromUnixTimestamp64Milli(sent_ms, 'UTC') COMMENT 'Tenant\'s time of the dispatch, as a time.',
    `dispatched_at` DateTime64(3, 'UTC') ALIAS fromUnixTimestamp64Milli(dispatched_ms, 'UTC') COMMENT 'Wall clock of it, as a time.'
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(fromUnixTimestamp64Milli(_appended_ms, 'UTC'))
ORDER BY (tenant, delivery_id, _partition, _offset)
TTL toDateTime(fromUnixTimestamp64Milli(_appended_ms, 'UTC')) + INTERVAL 400 DAY
SETTINGS non_replicated_deduplication_window = 10000
COMMENT 'Landing of deliveries.sent: one row per Kafka record, repeats included; ask the view deliveries instead.';

CREATE TABLE IF NOT EXISTS raw_receipts_received
(
    `receipt_id` String COMMENT 'Deterministic id.',
    `decision_id` String COMMENT 'Id of the decision, the one id from trigger to conversion.',
    `tenant` LowCardinality(String) COMMENT 'Whose data this is; part of every key.',
    `profile_id` String COMMENT 'Pseudonymous profile id: keyed HMAC of tenant and subject, 32 hex characters.',
    `channel` LowCardinality(String) COMMENT 'Channel.',
    `kind` LowCardinality(String) COMMENT 'delivered, opened, clicked, bounced, unsubscribed or complained.',
    `event_ms` Int64 COMMENT 'Tenant\'s time.',
    `recorded_ms` Int64 COMMENT 'Wall clock.',
    `machine` Bool COMMENT 'True: probably not a person (scanner, prefetch); never learnt from.',
    `_topic_id` LowCardinality(String) COMMENT 'Kafka\'s id of the topic; changes when the topic is deleted and made again',
    `_partition` UInt32 COMMENT 'Kafka partition the record stood in',
    `_offset` UInt64 COMMENT 'Kafka offset of the record in that partition',
    `_appended_ms` Int64 COMMENT 'Kafka\'s timestamp of the record, milliseconds since 1970 UTC',
    `event_at` DateTime64(3, 'UTC') ALIAS fromUnixTimestamp64Milli(event_ms, 'UTC') COMMENT 'Tenant\'s time, as a time.',
    `recorded_at` DateTime64(3, 'UTC') ALIAS fromUnixTimestamp64Milli(recorded_ms, 'UTC') COMMENT 'Wall clock, as a time.'
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(fromUnixTimestamp64Milli(_appended_ms, 'UTC'))
ORDER BY (tenant, receipt_id, _partition, _offset)
TTL toDateTime(fromUnixTimestamp64Milli(_appended_ms, 'UTC')) + INTERVAL 400 DAY
SETTINGS non_replicated_deduplication_window = 10000
COMMENT 'Landing of receipts.received: one row per Kafka record, repeats included; ask the view receipts instead.';

CREATE TABLE IF NOT EXISTS raw_rewards_observed
(
    `reward_id` String COMMENT 'Deterministic id of decision and conversion.',
    `decision_id` String COMMENT 'Id of the decision, the one id from trigger to conversion.',
    `tenant` LowCardinality(String) COMMENT 'Whose data this is; part of every key.',
    `profile_id` String COMMENT 'Pseudonymous profile id: keyed HMAC of tenant and subject, 32 hex characters.',
    `playbook` LowCardinality(String) COMMENT 'Playbook.',
    `arm` LowCardinality(String) COMMENT 'Variant.',
    `holdout` Bool COMMENT 'As in the decision.',
    `segment` LowCardinality(String) COMMENT 'As in the decision.',
    `propensity` Float64 COMMENT 'As in the decision.',
    `kind` LowCardinality(String) COMMENT 'converted, refunded or closed.',
    `event_id` String COMMENT 'Conversion event, or empty.',
    `order_id` String COMMENT 'Order, or empty.',
    `value_micros` Int64 COMMENT 'Value, negative for a refund, 0 when closed.',
    `moment_ms` Int64 COMMENT 'The decision\'s moment.',
    `event_ms` Int64 COMMENT 'When it converted or closed.',
    `purposes` Int32 COMMENT 'Purposes in force.',
    `origin_partition` Int32 COMMENT 'Partition.',
    `origin_offset` Int64 COMMENT 'Offset of the record that completed the join.',
    `origin_sequence` Int32 COMMENT 'Emission number.',
    `_topic_id` LowCardinality(String) COMMENT 'Kafka\'s id of the topic; changes when the topic is deleted and made again',
    `_partition` UInt32 COMMENT 'Kafka partition the record stood in',
    `_offset` UInt64 COMMENT 'Kafka offset of the record in that partition',
    `_appended_ms` Int64 COMMENT 'Kafka\'s timestamp of the record, milliseconds since 1970 UTC',
    `moment_at` DateTime64(3, 'UTC') ALIAS fromUnixTimestamp64Milli(moment_ms, 'UTC') COMMENT 'The decision\'s moment, as a time.',
    `event_at` DateTime64(3, 'UTC') ALIAS fromUnixTimestamp64Milli(event_ms, 'UTC') COMMENT 'When it converted or closed, as a time.'
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(fromUnixTimestamp64Milli(_appended_ms, 'UTC'))
ORDER BY (tenant, reward_id, _partition, _offset)
TTL toDateTime(fromUnixTimestamp64Milli(_appended_ms, 'UTC')) + INTERVAL 400 DAY
SETTINGS non_replicated_deduplication_window = 10000
COMMENT 'Landing of rewards.observed: one row per Kafka record, repeats included; ask the view rewards instead.';

CREATE TABLE IF NOT EXISTS raw_refusals_recorded
(
    `refusal_id` String COMMENT 'Deterministic id.',
    `stage` LowCardinality(String) COMMENT 'admit, choose, compose, deliver, sink.',
    `outcome` LowCardinality(String) COMMENT 'refused, duplicate, skipped or quarantined.',
    `reason` LowCardinality(String) COMMENT 'Stable reason code.',
    `field` LowCardinality(String) COMMENT 'The field at fault, or empty.',
    `detail` String COMMENT 'What was wrong with it, without personal data.',
    `tenant` LowCardinality(String) COMMENT 'Tenant, when it could be read.',
    `source` LowCardinality(String) COMMENT 'Producer, when it could be read.',
    `event_id` String COMMENT 'Event concerned, or empty.',
    `profile_id` String COMMENT 'Profile concerned, or empty.',
    `decision_id` String COMMENT 'Decision concerned, or empty.',
    `playbook` LowCardinality(String) COMMENT 'Playbook concerned, or empty.',
    `topic` LowCardinality(String) COMMENT 'Topic of the record that was refused.',
    `partition` Int32 COMMENT 'Partition of it.',
    `offset` Int64 COMMENT 'Offset of it; replay reads it again from there.',
    `event_ms` Int64 COMMENT 'Event time, 0 when unknown.',
    `recorded_ms` Int64 COMMENT 'Wall clock of the refusal.',
    `_topic_id` LowCardinality(String) COMMENT 'Kafka\'s id of the topic; changes when the topic is deleted and made again',
    `_partition` UInt32 COMMENT 'Kafka partition the record stood in',
    `_offset` UInt64 COMMENT 'Kafka offset of the record in that partition',
    `_appended_ms` Int64 COMMENT 'Kafka\'s timestamp of the record, milliseconds since 1970 UTC',
    `event_at` DateTime64(3, 'UTC') ALIAS fromUnixTimestamp64Milli(event_ms, 'UTC') COMMENT 'Event time, 0 when unknown, as a time.',
    `recorded_at` DateTime64(3, 'UTC') ALIAS fromUnixTimestamp64Milli(recorded_ms, 'UTC') COMMENT 'Wall clock of the refusal, as a time.'
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(fromUnixTimestamp64Milli(_appended_ms, 'UTC'))
ORDER BY (tenant, refusal_id, _partition, _offset)
TTL toDateTime(fromUnixTimestamp64Milli(_appended_ms, 'UTC')) + INTERVAL 90 DAY
SETTINGS non_replicated_deduplication_window = 10000
COMMENT 'Landing of refusals.recorded: one row per Kafka record, repeats included; ask the view refusals instead.';

CREATE TABLE IF NOT EXISTS raw_events_quarantined
(
    `quarantine_id` String COMMENT 'Deterministic id of (topic, partition, offset).',
    `stage` LowCardinality(String) COMMENT 'Who gave up on it.',
    `reason` LowCardinality(String) COMMENT 'Stable reason code.',
    `field` LowCardinality(String) COMMENT 'The field at fault, or empty.',
    `detail` String COMMENT 'What was wrong and how to mend it.',
    `topic` LowCardinality(String) COMMENT 'Topic it stood in.',
    `partition` Int32 COMMENT 'Partition.',
    `offset` Int64 COMMENT 'Offset.',
    `appended_ms` Int64 COMMENT 'Broker time of the record.',
    `recorded_ms` Int64 COMMENT 'Wall clock of the refusal.',
    `key_bytes` UInt32 COMMENT 'Size of `key`, which stays in Kafka: it may hold personal data.',
    `payload_bytes` UInt32 COMMENT 'Size of `payload`, which stays in Kafka: it may hold personal data.',
    `_topic_id` LowCardinality(String) COMMENT 'Kafka\'s id of the topic; changes when the topic is deleted and made again',
    `_partition` UInt32 COMMENT 'Kafka partition the record stood in',
    `_offset` UInt64 COMMENT 'Kafka offset of the record in that partition',
    `_appended_ms` Int64 COMMENT 'Kafka\'s timestamp of the record, milliseconds since 1970 UTC',
    `appended_at` DateTime64(3, 'UTC') ALIAS fromUnixTimestamp64Milli(appended_ms, 'UTC') COMMENT 'Broker time of the record, as a time.',
    `recorded_at` DateTime64(3, 'UTC') ALIAS fromUnixTimestamp64Milli(recorded_ms, 'UTC') COMMENT 'Wall clock of the refusal, as a time.'
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(fromUnixTimestamp64Milli(_appended_ms, 'UTC'))
ORDER BY (quarantine_id, _partition, _offset)
TTL toDateTime(fromUnixTimestamp64Milli(_appended_ms, 'UTC')) + INTERVAL 14 DAY
SETTINGS non_replicated_deduplication_window = 10000
COMMENT 'Landing of events.quarantined: one row per Kafka record, repeats included; ask the view quarantined instead.';

CREATE TABLE IF NOT EXISTS raw_costs_incurred
(
    `cost_id` String COMMENT 'Deterministic id.',
    `decision_id` String COMMENT 'Id of the decision, the one id from trigger to conversion.',
    `tenant` LowCardinality(String) COMMENT 'Whose data this is; part of every key.',
    `playbook` LowCardinality(String) COMMENT 'Playbook.',
    `rung` LowCardinality(String) COMMENT 'Rung.',
    `model` LowCardinality(String) COMMENT 'Model.',
    `tokens_in` Int64 COMMENT 'Prompt tokens.',
    `tokens_cached` Int64 COMMENT 'Of these, read from the provider\'s cache.',
    `tokens_out` Int64 COMMENT 'Completion tokens.',
    `cost_usd_micros` Int64 COMMENT 'Micro-dollars.',
    `price_book` LowCardinality(String) COMMENT 'Version of the price book.',
    `estimated` Bool COMMENT 'True: the server reported no usage.',
    `result` LowCardinality(String) COMMENT 'ok, timeout, error or rejected.',
    `took_ms` Int64 COMMENT 'Milliseconds.',
    `recorded_ms` Int64 COMMENT 'Wall clock.',
    `_topic_id` LowCardinality(String) COMMENT 'Kafka\'s id of the topic; changes when the topic is deleted and made again',
    `_partition` UInt32 COMMENT 'Kafka partition the record stood in',
    `_offset` UInt64 COMMENT 'Kafka offset of the record in that partition',
    `_appended_ms` Int64 COMMENT 'Kafka\'s timestamp of the record, milliseconds since 1970 UTC',
    `recorded_at` DateTime64(3, 'UTC') ALIAS fromUnixTimestamp64Milli(recorded_ms, 'UTC') COMMENT 'Wall clock, as a time.'
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(fromUnixTimestamp64Milli(_appended_ms, 'UTC'))
ORDER BY (tenant, cost_id, _partition, _offset)
TTL toDateTime(fromUnixTimestamp64Milli(_appended_ms, 'UTC')) + INTERVAL 400 DAY
SETTINGS non_replicated_deduplication_window = 10000
COMMENT 'Landing of costs.incurred: one row per Kafka record, repeats included; ask the view costs instead.';

CREATE TABLE IF NOT EXISTS raw_segments_changed
(
    `change_id` String COMMENT 'Deterministic id.',
    `tenant` LowCardinality(String) COMMENT 'Whose data this is; part of every key.',
    `profile_id` String COMMENT 'Pseudonymous profile id: keyed HMAC of tenant and subject, 32 hex characters.',
    `segment` LowCardinality(String) COMMENT 'Segment.',
    `entered` Bool COMMENT 'True: entered, false: left.',
    `event_ms` Int64 COMMENT 'When it became true.',
    `cause` LowCardinality(String) COMMENT 'event or lapse.',
    `origin_partition` Int32 COMMENT 'Partition.',
    `origin_offset` Int64 COMMENT 'Offset.',
    `origin_sequence` Int32 COMMENT 'Emission number.',
    `_topic_id` LowCardinality(String) COMMENT 'Kafka\'s id of the topic; changes when the topic is deleted and made again',
    `_partition` UInt32 COMMENT 'Kafka partition the record stood in',
    `_offset` UInt64 COMMENT 'Kafka offset of the record in that partition',
    `_appended_ms` Int64 COMMENT 'Kafka\'s timestamp of the record, milliseconds since 1970 UTC',
    `event_at` DateTime64(3, 'UTC') ALIAS fromUnixTimestamp64Milli(event_ms, 'UTC') COMMENT 'When it became true, as a time.'
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(fromUnixTimestamp64Milli(_appended_ms, 'UTC'))
ORDER BY (tenant, change_id, _partition, _offset)
TTL toDateTime(fromUnixTimestamp64Milli(_appended_ms, 'UTC')) + INTERVAL 90 DAY
SETTINGS non_replicated_deduplication_window = 10000
COMMENT 'Landing of segments.changed: one row per Kafka record, repeats included; ask the view segment_changes instead.';

CREATE TABLE IF NOT EXISTS raw_consents_changed
(
    `tenant` LowCardinality(String) COMMENT 'Whose data this is; part of every key.',
    `profile_id` String COMMENT 'Pseudonymous profile id: keyed HMAC of tenant and subject, 32 hex characters.',
    `purpose` LowCardinality(String) COMMENT 'measure, personalise, contact or train.',
    `granted` Bool COMMENT 'True: agreed. False: denied or withdrawn.',
    `event_ms` Int64 COMMENT 'When the person said so.',
    `origin` LowCardinality(String) COMMENT 'event, unsubscribe, complaint, bounce, api.',
    `basis` LowCardinality(String) COMMENT 'Lawful basis claimed.',
    `evidence` String COMMENT 'Event or decision id that proves it.',
    `recorded_ms` Int64 COMMENT 'Wall clock.',
    `_topic_id` LowCardinality(String) COMMENT 'Kafka\'s id of the topic; changes when the topic is deleted and made again',
    `_partition` UInt32 COMMENT 'Kafka partition the record stood in',
    `_offset` UInt64 COMMENT 'Kafka offset of the record in that partition',
    `_appended_ms` Int64 COMMENT 'Kafka\'s timestamp of the record, milliseconds since 1970 UTC',
    `event_at` DateTime64(3, 'UTC') ALIAS fromUnixTimestamp64Milli(event_ms, 'UTC') COMMENT 'When the person said so, as a time.',
    `recorded_at` DateTime64(3, 'UTC') ALIAS fromUnixTimestamp64Milli(recorded_ms, 'UTC') COMMENT 'Wall clock, as a time.'
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(fromUnixTimestamp64Milli(_appended_ms, 'UTC'))
ORDER BY (tenant, profile_id, purpose, _partition, _offset)
TTL toDateTime(fromUnixTimestamp64Milli(_appended_ms, 'UTC')) + INTERVAL 1095 DAY
SETTINGS non_replicated_deduplication_window = 10000
COMMENT 'Landing of consents.changed: one row per Kafka record, repeats included; ask the view consents instead.';

CREATE TABLE IF NOT EXISTS raw_segments_rolled
(
    `tenant` LowCardinality(String) COMMENT 'Whose data this is; part of every key.',
    `segment` LowCardinality(String) COMMENT 'Segment.',
    `partition` Int32 COMMENT 'Partition whose share this is.',
    `members` Int64 COMMENT 'Members now.',
    `sums_json` String COMMENT '{feature: sum over the members}. Read it with JSONExtract(sums_json, \'Map(String, Float64)\').',
    `event_ms` Int64 COMMENT 'Event time of the share.',
    `recorded_ms` Int64 COMMENT 'Wall clock.',
    `_topic_id` LowCardinality(String) COMMENT 'Kafka\'s id of the topic; changes when the topic is deleted and made again',
    `_partition` UInt32 COMMENT 'Kafka partition the record stood in',
    `_offset` UInt64 COMMENT 'Kafka offset of the record in that partition',
    `_appended_ms` Int64 COMMENT 'Kafka\'s timestamp of the record, milliseconds since 1970 UTC',
    `event_at` DateTime64(3, 'UTC') ALIAS fromUnixTimestamp64Milli(event_ms, 'UTC') COMMENT 'Event time of the share, as a time.',
    `recorded_at` DateTime64(3, 'UTC') ALIAS fromUnixTimestamp64Milli(recorded_ms, 'UTC') COMMENT 'Wall clock, as a time.'
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(fromUnixTimestamp64Milli(_appended_ms, 'UTC'))
ORDER BY (tenant, segment, partition, _partition, _offset)
TTL toDateTime(fromUnixTimestamp64Milli(_appended_ms, 'UTC')) + INTERVAL 30 DAY
SETTINGS non_replicated_deduplication_window = 10000
COMMENT 'Landing of segments.rolled: one row per Kafka record, repeats included; ask the view segment_shares instead.';

CREATE TABLE IF NOT EXISTS raw_policies_updated
(
    `tenant` LowCardinality(String) COMMENT 'Whose data this is; part of every key.',
    `playbook` LowCardinality(String) COMMENT 'Playbook.',
    `segment` LowCardinality(String) COMMENT 'Segment cell; \'*\' is everybody.',
    `partition` Int32 COMMENT 'Partition whose share this is.',
    `version` String COMMENT 'Policy version.',
    `arms_json` String COMMENT '{arm: {trials, successes, value_micros}} of matured decisions. Read it with JSONExtractInt(arms_json, \'arm\', \'trials\').',
    `updated_ms` Int64 COMMENT 'Tenant\'s time of the newest reward in it.',
    `recorded_ms` Int64 COMMENT 'Wall clock.',
    `_topic_id` LowCardinality(String) COMMENT 'Kafka\'s id of the topic; changes when the topic is deleted and made again',
    `_partition` UInt32 COMMENT 'Kafka partition the record stood in',
    `_offset` UInt64 COMMENT 'Kafka offset of the record in that partition',
    `_appended_ms` Int64 COMMENT 'Kafka\'s timestamp of the record, milliseconds since 1970 UTC',
    `updated_at` DateTime64(3, 'UTC') ALIAS fromUnixTimestamp64Milli(updated_ms, 'UTC') COMMENT 'Tenant\'s time of the newest reward in it, as a time.',
    `recorded_at` DateTime64(3, 'UTC') ALIAS fromUnixTimestamp64Milli(recorded_ms, 'UTC') COMMENT 'Wall clock, as a time.'
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(fromUnixTimestamp64Milli(_appended_ms, 'UTC'))
ORDER BY (tenant, playbook, segment, partition, _partition, _offset)
TTL toDateTime(fromUnixTimestamp64Milli(_appended_ms, 'UTC')) + INTERVAL 400 DAY
SETTINGS non_replicated_deduplication_window = 10000
COMMENT 'Landing of policies.updated: one row per Kafka record, repeats included; ask the view policy_shares instead.';

CREATE TABLE IF NOT EXISTS raw_playbooks_published
(
    `tenant` LowCardinality(String) COMMENT 'Whose data this is; part of every key.',
    `name` LowCardinality(String) COMMENT 'Playbook name.',
    `version` Int32 COMMENT 'Counts up with every change.',
    `yaml` String COMMENT 'The file, as written.',
    `checksum` String COMMENT 'SHA-256 of it.',
    `active` Bool COMMENT 'False: withdrawn.',
    `published_ms` Int64 COMMENT 'Wall clock.',
    `_topic_id` LowCardinality(String) COMMENT 'Kafka\'s id of the topic; changes when the topic is deleted and made again',
    `_partition` UInt32 COMMENT 'Kafka partition the record stood in',
    `_offset` UInt64 COMMENT 'Kafka offset of the record in that partition',
    `_appended_ms` Int64 COMMENT 'Kafka\'s timestamp of the record, milliseconds since 1970 UTC',
    `published_at` DateTime64(3, 'UTC') ALIAS fromUnixTimestamp64Milli(published_ms, 'UTC') COMMENT 'Wall clock, as a time.'
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(fromUnixTimestamp64Milli(_appended_ms, 'UTC'))
ORDER BY (tenant, name, _partition, _offset)
TTL toDateTime(fromUnixTimestamp64Milli(_appended_ms, 'UTC')) + INTERVAL 3650 DAY
SETTINGS non_replicated_deduplication_window = 10000
COMMENT 'Landing of playbooks.published: one row per Kafka record, repeats included; ask the view playbooks instead.';

CREATE TABLE IF NOT EXISTS raw_catalogue_items
(
    `tenant` LowCardinality(String) COMMENT 'Whose data this is; part of every key.',
    `item_id` String COMMENT 'Item.',
    `title` String COMMENT 'Name as customers read it.',
    `category` LowCardinality(String) COMMENT 'Category.',
    `price_micros` Int64 COMMENT 'Price now, micro-units.',
    `currency` LowCardinality(String) COMMENT 'ISO 4217.',
    `url` String COMMENT 'Where it can be bought.',
    `in_stock` Bool COMMENT 'Whether it can be bought now.',
    `attributes_json` String COMMENT 'Further facts as JSON. Read it with JSONExtractString(attributes_json, \'name\').',
    `as_of_ms` Int64 COMMENT 'When these facts were true (tenant\'s time).',
    `_topic_id` LowCardinality(String) COMMENT 'Kafka\'s id of the topic; changes when the topic is deleted and made again',
    `_partition` UInt32 COMMENT 'Kafka partition the record stood in',
    `_offset` UInt64 COMMENT 'Kafka offset of the record in that partition',
    `_appended_ms` Int64 COMMENT 'Kafka\'s timestamp of the record, milliseconds since 1970 UTC',
    `as_of_at` DateTime64(3, 'UTC') ALIAS fromUnixTimestamp64Milli(as_of_ms, 'UTC') COMMENT 'When these facts were true (tenant\'s time), as a time.'
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(fromUnixTimestamp64Milli(_appended_ms, 'UTC'))
ORDER BY (tenant, item_id, _partition, _offset)
TTL toDateTime(fromUnixTimestamp64Milli(_appended_ms, 'UTC')) + INTERVAL 3650 DAY
SETTINGS non_replicated_deduplication_window = 10000
COMMENT 'Landing of catalogue.items: one row per Kafka record, repeats included; ask the view catalogue instead.';
