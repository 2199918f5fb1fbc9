-- Sizes of the segments now. Fewer people than `k_min` are not shown: they could be known.
SELECT tenant AS world, segment, if(sizes.members < {k_min:Int64}, NULL, sizes.members) AS people,
       sizes.members < {k_min:Int64} AS hidden
FROM (SELECT tenant, segment, sum(shares.members) AS members FROM segment_shares AS shares
      WHERE shares.entity = 'segment' AND shares.segment != '' GROUP BY tenant, segment) AS sizes
WHERE sizes.members > 0
ORDER BY world, hidden, people DESC, segment
