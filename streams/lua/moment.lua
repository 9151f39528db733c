-- moment: how things stand now, all of one moment.
--
-- KEYS  events   STREAM  every change of state
--       tallies  HASH    what|lane → how often that ever happened to jobs of the lane
-- ARGV  most  int  tallies; none are told where there are more
-- Returns {ms, the newest event's id or 0-0, {what|lane, times, ...} or false}.
local time = redis.call('TIME')
local newest = redis.call('XREVRANGE', events, '+', '-', 'COUNT', 1)[1]
local told = redis.call('HLEN', tallies) <= tonumber(most) and redis.call('HGETALL', tallies)
return { time[1] * 1000 + math.floor(time[2] / 1000), newest and newest[1] or '0-0', told }
