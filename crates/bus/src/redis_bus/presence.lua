-- Who of a room is at which holder: enter, shift, check, end or present. One hash slot: all keys share the hash tag
-- {room}. Those of the holders cannot be named in advance.
--
-- KEYS[1]  holders  set; who has users here
-- KEYS[2]  turn     string; number of the room's last change. Begins at the time in ms, so that numbers grow even after
--                   everything was lost
-- <KEYS[1]>:<holder>  set; its users
-- ARGV[1]  what to do
-- ARGV[2]  holder
-- ARGV[3]  channel to tell changes on
-- enter    ARGV[4…]  users                                     reply: turn
-- shift    ARGV[4]   how many came; ARGV[5…] they, then who went   reply: turn, or -1 where the lease is lost
-- check                                                       reply: turn, or -1 where the lease is lost
-- end                                                         reply: turn
-- present                                                     reply: turn, then holder, users, holder, users …
--
-- A change is told as p<turn> <holder> and then, a space before each: = and all users, or +user and -user, or ! where
-- somebody else ended the lease, or nothing where all left. The turn is counted first, and INCR is what a Redis without
-- memory refuses: then nothing was changed, and nobody told.

local holders, turn = KEYS[1], KEYS[2]
local what, holder, channel = unpack(ARGV, 1, 3)
local users = holders .. ':' .. holder
-- Longer than any outage after which leases are to be found again; until somebody comes to the room and ends them.
local KEEP = 3600000

local function now()
  local time = redis.call('TIME')
  return string.format('%.0f', tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000))
end

local function count()
  local number = redis.call('INCR', turn)
  if number == 1 then
    number = now()
    redis.call('SET', turn, number, 'PX', KEEP)
  end
  return tonumber(number)
end

local function tell(number, words)
  redis.call('PUBLISH', channel, string.format('p%.0f ', number) .. holder .. words)
end

local function last()
  return tonumber(redis.call('GET', turn) or 0)
end

local function keep()
  for _, key in ipairs({holders, turn, users}) do
    redis.call('PEXPIRE', key, KEEP)
  end
end

-- SADD and SREM of any number of users: unpack() is bounded by Lua's stack.
local function each(command, from, to)
  for first = from, to, 1000 do
    redis.call(command, users, unpack(ARGV, first, math.min(first + 999, to)))
  end
end

local function finish(words)
  if redis.call('SISMEMBER', holders, holder) == 0 then
    return last()
  end
  local number = count()
  redis.call('SREM', holders, holder)
  redis.call('DEL', users)
  tell(number, words)
  return number
end

if what == 'present' then
  -- The first number of a room is given by its first reader, so that the first change follows it.
  redis.pcall('SET', turn, now(), 'PX', KEEP, 'NX')
  local reply = {string.format('%.0f', last())}
  for _, who in ipairs(redis.call('SMEMBERS', holders)) do
    reply[#reply + 1] = who
    reply[#reply + 1] = redis.call('SMEMBERS', holders .. ':' .. who)
  end
  return reply
end

if what == 'end' then
  return finish(' !')
end

if what == 'enter' then
  if #ARGV == 3 then
    return finish('')
  end
  local number = count()
  redis.call('DEL', users)
  each('SADD', 4, #ARGV)
  redis.call('SADD', holders, holder)
  keep()
  tell(number, ' = ' .. table.concat(ARGV, ' ', 4))
  return number
end

-- The set may be gone without the lease where keys were deleted by hand.
local left = redis.call('PTTL', users)
if left == -2 or redis.call('SISMEMBER', holders, holder) == 0 then
  return -1
end
if left < KEEP / 2 then
  keep()
end
if what == 'check' then
  return last()
end

local came = tonumber(ARGV[4])
local number = count()
-- In this order the set, and with it the time that it is kept, goes only with the last user.
each('SADD', 5, 4 + came)
each('SREM', 5 + came, #ARGV)
if redis.call('SCARD', users) == 0 then
  redis.call('SREM', holders, holder)
  tell(number, '')
  return number
end
local words = {}
for index = 5, #ARGV do
  words[#words + 1] = (index < 5 + came and ' +' or ' -') .. ARGV[index]
end
tell(number, table.concat(words))
return number
