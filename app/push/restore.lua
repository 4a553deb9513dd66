-- Write entries again that are missing or older than the caller's: after a flush, a fail-over, a long sleep.
-- KEYS[1]  the hash bucket
-- ARGV     pairs: node id, entry
-- Returns the ids of nodes whose stored fence is higher: those connections have been replaced
local replaced = {}
for i = 1, #ARGV, 2 do
  local entry = redis.call('HGET', KEYS[1], ARGV[i])
  local stored = entry and tonumber(string.match(entry, '^(%d+)')) or 0
  local own = tonumber(string.match(ARGV[i + 1], '^(%d+)'))
  if stored > own then
    replaced[#replaced + 1] = ARGV[i]
  elseif entry ~= ARGV[i + 1] then
    redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
  end
end
return replaced
