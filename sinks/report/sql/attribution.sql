-- Conversions credited to messages: all to the last one before, or evenly to all before. Credit is
-- not cause: the hold-out says how many would have converted without any message.
SELECT world, playbook, sum(last_touch) AS last_touch, round(sum(linear), 4) AS linear,
       round(sum(last_value) / 1e6, 2) AS last_touch_value,
       round(sum(linear_value) / 1e6, 2) AS linear_value
FROM (
    SELECT toString(tenant) AS world, toString(playbook) AS playbook, credit AS last_touch,
           toFloat64(0) AS linear, value_micros AS last_value, toFloat64(0) AS linear_value
    FROM attribution_last_touch
    UNION ALL
    SELECT toString(tenant), toString(playbook), toFloat64(0), credit, toFloat64(0), value_micros
    FROM attribution_linear
)
GROUP BY world, playbook
ORDER BY world, last_touch DESC, playbook
