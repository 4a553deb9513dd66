-- Remove a node's presence, but only if it is still this connection's: a late close evicts nobody.
-- KEYS[1]  the hash bucket of the node
-- ARGV     pairs: node id, connection id
-- Returns how many were removed
local removed = 0
for i = 1, #ARGV, 2 do
  local entry = redis.call('HGET', KEYS[1], ARGV[i])
  if entry and string.match(entry, '^%d+ (%S+)') == ARGV[i + 1] then
    removed = removed + redis.call('HDEL', KEYS[1], ARGV[i])
  end
end
return removed
