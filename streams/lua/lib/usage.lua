-- usage: what attempts used of models, summed by job and by day. Needs ledger; stands before finish,
-- so that it is written before entries are let go.
--
-- KEYS  usage_  HASH  by day since 1970: app|processor|model → sums
--       job_    HASH  by job: usage
-- SETS  usage_retention_ms  int  how long a day's sums are kept
-- A usage is whole numbers with a space between, in the order of streams.usage.FIELDS.
local ROWS_MAX, OTHERS = 10000, '*|*|*'
local used = {} -- app|processor|model → sums of this call

local function sum_of(one, other)
  if not one then return other end
  local sums, theirs = {}, string.gmatch(other, '%d+')
  for number in string.gmatch(one, '%d+') do
    sums[#sums + 1] = string.format('%d', number + theirs())
  end
  return table.concat(sums, ' ')
end

-- An attempt whose settle was accepted has used this.
local function use(id, usage)
  local row = redis.call('HMGET', job_ .. id, 'lane', 'usage')
  if not row[1] then return end
  redis.call('HSET', job_ .. id, 'usage', sum_of(row[2], usage))
  local _, app, _, processor, model = lane_parts(row[1])
  local name = app .. '|' .. processor .. '|' .. model
  used[name] = sum_of(used[name], usage)
end

at_close[#at_close + 1] = function()
  local key = usage_ .. math.floor(now / 86400000)
  for name, usage in pairs(used) do
    local there = redis.call('HGET', key, name)
    if not there and redis.call('HLEN', key) >= ROWS_MAX then
      name = OTHERS
      there = redis.call('HGET', key, name)
    end
    redis.call('HSET', key, name, sum_of(there, usage))
    redis.call('PEXPIRE', key, usage_retention_ms)
  end
end
