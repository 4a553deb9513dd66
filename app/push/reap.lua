-- Remove entries of dead workers, unless they have changed since they were read.
-- KEYS[1]  the hash bucket
-- ARGV     pairs: node id, the entry that was read
local removed = 0
for i = 1, #ARGV, 2 do
  if redis.call('HGET', KEYS[1], ARGV[i]) == ARGV[i + 1] then
    removed = removed + redis.call('HDEL', KEYS[1], ARGV[i])
  end
end
return removed
