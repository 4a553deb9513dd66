-- Take over a node's presence for a new connection.
-- KEYS[1]  the hash bucket of the node
-- ARGV[1]  node id
-- ARGV[2]  connection id   ARGV[3] worker id   ARGV[4] transport
-- ARGV[5]  since (ms)      ARGV[6] worker label   ARGV[7] address
-- Returns {fence, the entry that stood there or ''}
-- An entry: fence connection worker transport since label address subscribed(0|1)
local before = redis.call('HGET', KEYS[1], ARGV[1])
local time = redis.call('TIME')
local fence = time[1] * 1000000 + time[2]
if before then
  local stored = tonumber(string.match(before, '^(%d+)'))
  if stored and stored >= fence then fence = stored + 1 end
end
local text = string.format('%.0f', fence)
redis.call('HSET', KEYS[1], ARGV[1],
  table.concat({text, ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7], '0'}, ' '))
return {text, before or ''}
