-- Remove a node's presence, but only if it is still this connection's: a late close evicts nobody.
-- KEYS[1]  the hash bucket of the node
-- ARGV     pairs: node id, connection id
-- Returns the connections whose node somebody else has taken over meanwhile, or nobody holds
local lost = {}
for i = 1, #ARGV, 2 do
  local entry = redis.call('HGET', KEYS[1], ARGV[i])
  if entry and string.match(entry, '^%d+ (%S+)') == ARGV[i + 1] then
    redis.call('HDEL', KEYS[1], ARGV[i])
  else
    lost[#lost + 1] = ARGV[i + 1]
  end
end
return lost
