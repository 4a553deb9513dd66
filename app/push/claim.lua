-- Take over a node's presence for a new connection, unless it is held off (hazards 18 and 21).
-- KEYS[1]  the hash bucket of the node
-- KEYS[2]  the node's takeovers of the last minute: a sorted set of the connections that lost, by time (ms)
-- KEYS[3]  the record of the node's duel
-- KEYS[4]  the node's dials, a hash: count, from (ms), level, until (ms)
-- ARGV[1]  node id
-- ARGV[2]  connection id   ARGV[3] worker id      ARGV[4] transport
-- ARGV[5]  since (ms)      ARGV[6] worker label   ARGV[7] address    ARGV[8] instance or ''
-- ARGV[9]  1: judge it; 0: the connection is open already, so it is never held off
-- ARGV[10] the connection of this node that this worker holds, or ''
-- ARGV[11] a connection that is known to be over, or ''
-- ARGV[12] takeovers allowed    ARGV[13] within (ms)
-- ARGV[14] dials allowed        ARGV[15] within (ms)
-- ARGV[16] first pause (ms)     ARGV[17] longest pause (ms)   ARGV[18] how long pauses are remembered (ms)
-- Returns {'claimed', fence, the entry that stood there or ''}
--      or {'contested', '', the entry of the incumbent}
--      or {'damped', milliseconds to wait, ''}
-- An entry: fence connection worker transport since label address subscribed(0|1) [instance]
local before = redis.call('HGET', KEYS[1], ARGV[1])
local time = redis.call('TIME')
local fence = time[1] * 1000000 + time[2]
local now = math.floor(fence / 1000)
local stored = {}
for word in string.gmatch(before or '', '%S+') do stored[#stored + 1] = word end
local loser = stored[2]

if ARGV[9] == '1' then
  -- Nobody loses anything whose connection is over, or who comes back himself.
  if loser == ARGV[11]
    or (stored[3] == ARGV[3] and loser ~= ARGV[10])
    or (ARGV[8] ~= '' and stored[9] == ARGV[8]) then
    loser = nil
  end
  if loser and (redis.call('ZCOUNT', KEYS[2], now - ARGV[13], '+inf') >= tonumber(ARGV[12])
    or redis.call('EXISTS', KEYS[3]) == 1) then
    return {'contested', '', before}
  end

  local dials = redis.call('HMGET', KEYS[4], 'count', 'from', 'level', 'until')
  local count, from = tonumber(dials[1]) or 0, tonumber(dials[2]) or now
  local level, paused = tonumber(dials[3]) or 0, tonumber(dials[4]) or 0
  if now < paused then return {'damped', tostring(paused - now), ''} end
  if now - from >= tonumber(ARGV[15]) then count, from = 0, now end
  count = count + 1
  if count > tonumber(ARGV[14]) then
    level = level + 1
    local pause = math.min(tonumber(ARGV[17]), ARGV[16] * 2 ^ (level - 1))
    -- After the pause it may try once; only when that lasts does it start again from nothing.
    redis.call('HSET', KEYS[4], 'count', ARGV[14] - 1, 'from', now + pause, 'level', level, 'until', now + pause)
    redis.call('PEXPIRE', KEYS[4], pause + ARGV[18])
    return {'damped', tostring(pause), ''}
  end
  redis.call('HSET', KEYS[4], 'count', count, 'from', from, 'level', level, 'until', 0)
  redis.call('PEXPIRE', KEYS[4], level > 0 and ARGV[18] or ARGV[15])

  if loser then
    redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now - ARGV[13])
    redis.call('ZADD', KEYS[2], now, loser)
    redis.call('PEXPIRE', KEYS[2], ARGV[13])
  end
end

local before_fence = tonumber(stored[1])
if before_fence and before_fence >= fence then fence = before_fence + 1 end
local text = string.format('%.0f', fence)
local entry = {text, ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7], '0'}
if ARGV[8] ~= '' then entry[9] = ARGV[8] end
redis.call('HSET', KEYS[1], ARGV[1], table.concat(entry, ' '))
return {'claimed', text, before or ''}
