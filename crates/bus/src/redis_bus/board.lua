-- A board of notes that somebody renews, or that vanish: the list of rooms, or that of instances.
--
-- KEYS[1]  zset; name of a note, and when it vanishes, in ms of Redis's clock
-- KEYS[2]  hash; name of a note, and what it says
-- ARGV[1]  how long a note stays, in ms
-- ARGV[2…] name, text, name, text …; an empty text takes the note away
--
-- Reply: nothing where notes were given; else name, text and age in ms of each.

local ends, texts = KEYS[1], KEYS[2]
local stay = tonumber(ARGV[1])
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)

for index = 2, #ARGV, 2 do
  local name, text = ARGV[index], ARGV[index + 1]
  if text == '' then
    redis.call('ZREM', ends, name)
    redis.call('HDEL', texts, name)
  else
    redis.call('HSET', texts, name, text)
    redis.call('ZADD', ends, string.format('%.0f', now + stay), name)
  end
end

-- A few at each call, so that no call is long.
local stale = redis.call('ZRANGEBYSCORE', ends, '-inf', string.format('%.0f', now), 'LIMIT', 0, 500)
if #stale > 0 then
  redis.call('ZREM', ends, unpack(stale))
  redis.call('HDEL', texts, unpack(stale))
end
if #ARGV > 1 then
  return {}
end

local reply = {}
local found = redis.call('ZRANGEBYSCORE', ends, string.format('(%.0f', now), '+inf', 'WITHSCORES')
for index = 1, #found, 2 do
  local age = math.max(0, now + stay - tonumber(found[index + 1]))
  reply[#reply + 1] = {found[index], redis.call('HGET', texts, found[index]) or '', string.format('%.0f', age)}
end
return reply
